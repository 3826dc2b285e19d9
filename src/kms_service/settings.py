"""The settings, from environment variables and `.env`: frozen, checked as a whole, secrets unprintable."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

from dotenv import dotenv_values
from pydantic import (
    AfterValidator,
    AliasChoices,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, DotEnvSettingsSource, PydanticBaseSettingsSource

from kms_service.aws_settings import problems_of_botocore
from kms_service.database_settings import DatabaseSettings
from kms_service.errors import SettingsError
from kms_service.kms_settings import KmsSettings, http_url
from kms_service.laptop import LOCAL_FOLDER_VARIABLE
from kms_service.tls import makes_a_server

# What a stop adds to the time of the longest request.
GRACE_SECONDS = 2
# An attempt takes three seconds at most in each Region, and the database must answer before and after.
LEAST_SECONDS_WITH_FALLBACK = 8
USER_ID = r"^[A-Za-z0-9._:@-]{1,128}$"
_ADVICE = "Set them in the environment or in .env; .env.example explains every setting."

_PLACE = re.compile(r"(file://)?/[^\0]+|s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^\0]*)?", re.ASCII)


def _place(url: str) -> str:
    if not _PLACE.fullmatch(url):
        raise ValueError("must be an absolute path, or s3://bucket/prefix")
    return url


def _readable(path: Path | None) -> Path | None:
    if path is not None:
        try:
            path.open("rb").close()
        except OSError as error:
            raise ValueError(f"cannot be read: {(error.strerror or type(error).__name__).lower()}") from None
    return path


class Settings(KmsSettings):
    """All settings; each field's variable is its name in capitals, and its default is given here."""

    aws_access_key_id: str | None = None
    aws_secret_access_key: Annotated[SecretStr | None, Field(validate_default=True)] = None
    aws_session_token: SecretStr | None = None
    aws_endpoint_url_s3: Annotated[str, AfterValidator(http_url)] | None = None
    aws_endpoint_url_sts: Annotated[str, AfterValidator(http_url)] | None = None
    kms_key_pool_size: Annotated[int, Field(ge=1, le=100)] = 10
    kms_key_alias_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9/_-]{1,200}$")] = "Empressa-wallet-key"
    host: Annotated[str, Field(validation_alias=AliasChoices("host", "kms_service_host"))] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535, validation_alias=AliasChoices("port", "kms_service_port"))] = (
        3001
    )
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    max_in_flight: Annotated[int, Field(ge=1, le=10_000)] = 256
    database_connections: Annotated[int, Field(ge=2, le=200)] = 10
    pool_refresh_seconds: Annotated[float, Field(ge=1, le=86400)] = 300
    audit_heads_url: Annotated[str, AfterValidator(_place)] | None = None
    audit_signing_key: Annotated[str, Field(pattern=r"^[A-Za-z0-9:/_-]{1,2048}$")] | None = None
    audit_heads_seconds: Annotated[float, Field(ge=1, le=3600)] = 30
    max_connections: Annotated[int, Field(ge=1, le=100_000)] = 1000
    keep_alive_seconds: Annotated[float, Field(ge=1, le=3600)] = 75
    request_deadline_seconds: Annotated[float, Field(ge=4, le=120, validate_default=True)] = 10
    rotation_worker_enabled: bool = True
    rotation_calls_in_flight: Annotated[int, Field(ge=1, le=256)] = 16
    metrics_port: Annotated[int, Field(ge=0, le=65535)] | None = None
    metrics_emf: bool = False
    shutdown_delay_seconds: Annotated[float, Field(ge=0, le=120)] = 1
    tls_cert_file: Annotated[Path | None, AfterValidator(_readable)] = None
    tls_key_file: Annotated[Path | None, AfterValidator(_readable), Field(validate_default=True)] = None
    tls_client_ca_file: Annotated[Path | None, AfterValidator(_readable)] = None
    tracing_enabled: bool = False
    docs_enabled: bool = True
    console_enabled: bool = False
    platform_verifier_user_id: Annotated[str, Field(pattern=USER_ID)] | None = None
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["auto", "json", "text"] = "auto"

    # Validators of fields and not of the model: those of the model do not run while any field is wrong.
    @field_validator("aws_secret_access_key")
    @classmethod
    def _credentials_can_be_had(cls, secret: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if (secret is None) != (info.data.get("aws_access_key_id") is None):
            raise ValueError("set both AWS_ACCESS_KEY_ID and this, or neither to use a role or profile")
        if secret is None and (problem := _problem_of_credentials()):
            raise ValueError(
                "set AWS_ACCESS_KEY_ID and this, or give the process a role, a profile or a web identity "
                f"({problem})"
            )
        return secret

    @field_validator("request_deadline_seconds")
    @classmethod
    def _two_regions_need_time(cls, seconds: float, info: ValidationInfo) -> float:
        if info.data.get("kms_fallback_region") is not None and seconds < LEAST_SECONDS_WITH_FALLBACK:
            raise ValueError(
                f"must be at least {LEAST_SECONDS_WITH_FALLBACK} with KMS_FALLBACK_REGION: the "
                "service waits for one Region before it calls the other"
            )
        return seconds

    @field_validator("metrics_port")
    @classmethod
    def _metrics_have_a_port_of_their_own(cls, port: int | None, info: ValidationInfo) -> int | None:
        if port and port == info.data.get("port"):
            raise ValueError("must differ from PORT; leave it out to serve /metrics on PORT")
        return port

    @field_validator("tls_key_file")
    @classmethod
    def _key_belongs_to_the_certificate(cls, key: Path | None, info: ValidationInfo) -> Path | None:
        if "tls_cert_file" not in info.data:
            return key  # the certificate's own problem is reported
        cert = info.data["tls_cert_file"]
        if (key is None) != (cert is None):
            raise ValueError("set both TLS_CERT_FILE and this, or neither to serve plain http")
        if cert is not None and key is not None and not makes_a_server(cert, key, None):
            raise ValueError("must be the unencrypted PEM key of the PEM certificate in TLS_CERT_FILE")
        return key

    @field_validator("tls_client_ca_file")
    @classmethod
    def _clients_come_over_tls(cls, client_ca: Path | None, info: ValidationInfo) -> Path | None:
        cert, key = info.data.get("tls_cert_file"), info.data.get("tls_key_file")
        if client_ca is None or "tls_cert_file" not in info.data or "tls_key_file" not in info.data:
            return client_ca
        if cert is None or key is None:
            raise ValueError("client certificates need TLS: set TLS_CERT_FILE and TLS_KEY_FILE too")
        if not makes_a_server(cert, key, client_ca):
            raise ValueError("must contain PEM certificates")
        return client_ca

    @property
    def finish_seconds(self) -> float:
        """How many seconds requests under way get once a stop has begun: more than the longest needs."""
        return self.request_deadline_seconds + GRACE_SECONDS

    @property
    def calls_under_one_key(self) -> int:
        """How many calls under one key may be in flight.

        If one key hangs, half of the places, rounded down, are left for the others. A lone key gets all.
        """
        return self.max_in_flight if self.kms_key_pool_size == 1 else (self.max_in_flight + 1) // 2

    def alone_in(self, region: str) -> "Settings":
        """The same settings for a process that asks KMS in this Region only."""
        endpoints = {
            self.aws_region: self.aws_endpoint_url_kms,
            self.kms_fallback_region: self.kms_fallback_endpoint_url,
        }
        # A stand-in serves all Regions at one address.
        elsewhere = self.aws_endpoint_url_kms if self.uses_kms_stand_in else None
        return self.model_copy(
            update={
                "aws_region": region,
                "aws_endpoint_url_kms": endpoints.get(region, elsewhere),
                "kms_fallback_region": None,
                "kms_fallback_endpoint_url": None,
                "kms_fallback_when_throttled": False,
                "kms_hedging": False,
            }
        )

    @property
    def in_fallback_region(self) -> "Settings | None":
        """The same settings for the second Region only; None if there is none."""
        return None if self.kms_fallback_region is None else self.alone_in(self.kms_fallback_region)

    @property
    def aliases(self) -> tuple[str, ...]:
        """The pool's aliases, `alias/<prefix>-1` to `-N`."""
        prefix = f"alias/{self.kms_key_alias_prefix}"
        return tuple(f"{prefix}-{n}" for n in range(1, self.kms_key_pool_size + 1))

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the environment override `.env`, and constructor arguments, which tests use, override both."""
        del settings_cls, file_secret_settings
        if isinstance(dotenv_settings, DotEnvSettingsSource) and not dotenv_settings.env_vars:
            return init_settings, env_settings  # it would look for each field in a file that has none
        return init_settings, env_settings, dotenv_settings


def load_settings(env_file: Path | None = Path(".env"), **overrides: Any) -> Settings:
    """The settings of this process, from the environment and `env_file`, which a laptop session ignores.

    Raises:
        SettingsError: lists every missing or wrong variable by name and how to fix it, never a value.
    """
    env_file = _read_here(env_file)
    with _explain([*_find_outdated(env_file), *problems_of_botocore()]):
        return Settings(_env_file=env_file, **overrides)


def load_database_settings(env_file: Path | None = Path(".env")) -> DatabaseSettings:
    """Only the database's settings, for commands that need nothing else.

    Raises:
        SettingsError: one is missing or wrong.
    """
    with _explain([]):
        return DatabaseSettings(_env_file=_read_here(env_file))


def _read_here(env_file: Path | None) -> Path | None:
    return None if LOCAL_FOLDER_VARIABLE in os.environ else env_file


@contextmanager
def _explain(outdated: Sequence[str]) -> Iterator[None]:
    # from None: the errors hold the values that were read.
    try:
        yield
    except ValidationError as error:
        details = error.errors(include_input=False, include_url=False)
        raise SettingsError([*outdated, *(_problem(dict(each)) for each in details)], _ADVICE) from None
    except UnicodeDecodeError:
        raise SettingsError([".env: is not UTF-8 text"], _ADVICE) from None
    if outdated:
        raise SettingsError(outdated, _ADVICE)


# Settings of earlier versions, and what to set instead: ignoring them silently would mislead.
_REPLACED = {
    "WORKER_THREADS": "worker threads no longer exist; set MAX_IN_FLIGHT and DATABASE_CONNECTIONS",
    "ROTATION_WORKER_THREADS": "worker threads no longer exist; set ROTATION_CALLS_IN_FLIGHT",
}


def _find_outdated(env_file: Path | None) -> list[str]:
    try:
        written = {} if env_file is None else dotenv_values(env_file)
    except UnicodeDecodeError:
        return []  # reported when the settings are read
    names = {name.upper() for name in (*os.environ, *written)}
    return [f"{name}: {advice}" for name, advice in _REPLACED.items() if name in names]


_REMEDIES = {
    "aws_region": "set it to the Region of the KMS keys, such as eu-central-1",
    "database_url": "set it to postgresql://user:password@host:5432/database",
}


def _problem(detail: Mapping[str, Any]) -> str:
    message = str(detail["msg"]).removeprefix("Value error, ")
    name = str(detail["loc"][0])
    if detail["type"] == "missing":
        return f"{name.upper()}: is required; {_REMEDIES[name]}"
    return f"{name.upper()}: {message[0].lower()}{message[1:]}"


def _problem_of_credentials() -> str | None:
    import botocore.session  # noqa: PLC0415 # slow to load, and static keys need none of it
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415 # as above

    try:
        return None if botocore.session.get_session().get_credentials() else "none was found"
    except BotoCoreError as error:
        return type(error).__name__
