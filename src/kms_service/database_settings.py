"""The settings of the database, which some commands need alone."""

from typing import Annotated, Literal

from pydantic import AfterValidator, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

_SCHEMES = ("postgresql://", "postgres://")


def libpq_parameters(url: str) -> dict[str, str]:
    """What a `postgresql://` URL says, as libpq itself reads it: several hosts, sockets, all parameters.

    The answer holds the password: the caller's to keep out of every message.

    Raises:
        ValueError: libpq cannot read it, or it names no database; the message holds none of it.
    """
    from psycopg import ProgrammingError  # noqa: PLC0415 # the supervisor of workers needs none of it
    from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415 # as above

    try:
        given = conninfo_to_dict(url) if url.startswith(_SCHEMES) else {}
    except ProgrammingError:
        given = {}  # libpq's own words quote the URL, password and all
    parameters = {name: str(value) for name, value in given.items()}
    ports = parameters.get("port", "").split(",")
    if not parameters.get("dbname") or not all(port.isdecimal() or not port for port in ports):
        raise ValueError("must look like postgresql://user:password@host:5432/database")
    return parameters


def _postgresql(url: SecretStr) -> SecretStr:
    libpq_parameters(url.get_secret_value())
    return url


class DatabaseSettings(BaseSettings):
    """What a command needs that only touches the database."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", env_ignore_empty=True, hide_input_in_errors=True, case_sensitive=False
    )

    database_url: Annotated[SecretStr, AfterValidator(_postgresql)]
    database_prepared_statements: Literal["auto", "true", "false"] = "auto"
