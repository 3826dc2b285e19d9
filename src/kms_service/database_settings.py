"""The settings of the database; some commands need only these."""

import os
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from kms_service.loopback import is_loopback

_SCHEMES = ("postgresql://", "postgres://")


def libpq_parameters(url: str) -> dict[str, str]:
    """The parameters in a `postgresql://` URL, as libpq itself reads it: several hosts, sockets, and so on.

    They include the password, which the caller must keep out of every message.

    Raises:
        ValueError: libpq cannot read the URL, or it names no database; the message holds none of it.
    """
    from psycopg import ProgrammingError  # noqa: PLC0415 # the supervisor of workers needs none of it
    from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415 # as above

    try:
        given = conninfo_to_dict(url) if url.startswith(_SCHEMES) else {}
    except ProgrammingError:
        given = {}  # libpq's message quotes the URL with its password
    parameters = {name: str(value) for name, value in given.items()}
    ports = parameters.get("port", "").split(",")
    if not parameters.get("dbname") or not all(port.isdecimal() or not port for port in ports):
        raise ValueError("must look like postgresql://user:password@host:5432/database")
    return parameters


def _postgresql(url: SecretStr) -> SecretStr:
    libpq_parameters(url.get_secret_value())
    return url


class DatabaseSettings(BaseSettings):
    """The settings for a command that only uses the database."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", env_ignore_empty=True, hide_input_in_errors=True, case_sensitive=False
    )

    database_url: Annotated[SecretStr, AfterValidator(_postgresql)]
    database_prepared_statements: Literal["auto", "true", "false"] = "auto"
    database_secret_id: Annotated[str, Field(min_length=1, max_length=2048)] | None = None
    database_iam_auth: Annotated[bool, Field(validate_default=True)] = False
    database_allow_plaintext: Annotated[
        str | None, Field(min_length=10, max_length=200, validate_default=True)
    ] = None
    database_standby: bool = False
    aws_region: str | None = None
    aws_access_key_id: str | None = None
    aws_secret_access_key: SecretStr | None = None
    aws_session_token: SecretStr | None = None

    # Validators of fields, as in `Settings`.
    @field_validator("database_iam_auth")
    @classmethod
    def _one_source_of_the_password(cls, iam: bool, info: ValidationInfo) -> bool:
        if iam and info.data.get("database_secret_id"):
            raise ValueError("set this or DATABASE_SECRET_ID, not both")
        if iam and "database_url" in info.data:
            given = libpq_parameters(info.data["database_url"].get_secret_value())
            if not given.get("user") or not given.get("host") or "," in given["host"]:
                raise ValueError("needs one host and a user in DATABASE_URL: a token is for these")
        return iam

    @field_validator("database_allow_plaintext")
    @classmethod
    def _plaintext_stays_on_this_machine(cls, reason: str | None, info: ValidationInfo) -> str | None:
        if reason is None and "database_url" in info.data:
            given = libpq_parameters(info.data["database_url"].get_secret_value())
            secret = info.data.get("database_secret_id") is not None
            if _leaves_this_machine(given, by_secret=secret) and not _is_verified(given):
                raise ValueError(
                    "passwords and rows would go to an unverified server on another machine; "
                    "add sslmode=verify-full and sslrootcert=… to DATABASE_URL, or say here why not"
                )
        return reason


def _leaves_this_machine(given: dict[str, str], *, by_secret: bool) -> bool:
    environ = os.environ  # libpq's own variables, which it reads itself where the URL is silent
    named = (
        given.get("hostaddr") or given.get("host") or environ.get("PGHOSTADDR") or environ.get("PGHOST", "")
    )
    elsewhere = "service" in given or "PGSERVICE" in environ or (by_secret and not named)
    # An empty host means a socket.
    return elsewhere or not all(
        not host or host.startswith(("/", "@")) or is_loopback(host) for host in named.split(",")
    )


def _is_verified(given: dict[str, str]) -> bool:
    return given.get("sslmode", os.environ.get("PGSSLMODE", "")) in {"verify-full", "verify-ca"}
