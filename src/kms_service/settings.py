"""The one reader of environment variables and `.env`: frozen, checked as a whole, secrets unprintable."""

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from kms_service.errors import SettingsError

_ADVICE = "Set them in the environment or in .env; .env.example explains every setting."


def _postgresql(url: SecretStr) -> SecretStr:
    parts = urlsplit(url.get_secret_value())
    if parts.scheme not in {"postgresql", "postgres"} or not parts.path.strip("/"):
        raise ValueError("must look like postgresql://user:password@host:5432/database")
    return url


def _endpoint(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must be an http(s) URL")
    return url


def _region(name: str) -> str:
    if not name.replace("-", "").isalnum():
        raise ValueError("must be a Region's name, such as eu-central-1")
    return name


class Settings(BaseSettings):
    """Everything that can be set; each field's variable is its name in capitals, each default is below."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", env_ignore_empty=True, hide_input_in_errors=True, case_sensitive=False
    )

    aws_region: Annotated[str, AfterValidator(_region)]
    aws_access_key_id: str | None = None
    aws_secret_access_key: SecretStr | None = None
    aws_session_token: SecretStr | None = None
    aws_endpoint_url_kms: Annotated[str, AfterValidator(_endpoint)] | None = None
    kms_endpoint_allow_http: bool = False
    kms_key_pool_size: Annotated[int, Field(ge=1, le=100)] = 10
    kms_key_alias_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9/_-]{1,200}$")] = "Empressa-wallet-key"
    database_url: Annotated[SecretStr, AfterValidator(_postgresql)]
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 3001
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    worker_threads: Annotated[int, Field(ge=2, le=128)] = 8
    max_in_flight: Annotated[int, Field(ge=1, le=10_000)] = 256
    pool_refresh_seconds: Annotated[float, Field(ge=1, le=86400)] = 300
    request_deadline_seconds: Annotated[float, Field(ge=4, le=120)] = 10
    docs_enabled: bool = True
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["auto", "json", "text"] = "auto"

    @model_validator(mode="after")
    def _static_credentials_are_whole(self) -> Self:
        if (self.aws_access_key_id is None) != (self.aws_secret_access_key is None):
            raise ValueError(
                "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY: set both, or neither to use a role or profile"
            )
        return self

    @model_validator(mode="after")
    def _plain_http_stays_on_this_machine(self) -> Self:
        url = urlsplit(self.aws_endpoint_url_kms or "https://")
        if url.scheme == "http" and not self.kms_endpoint_allow_http and not _is_loopback(url.hostname or ""):
            raise ValueError(
                "AWS_ENDPOINT_URL_KMS: plain http would carry DEKs over the network; use https, or set "
                "KMS_ENDPOINT_ALLOW_HTTP=true for a stand-in"
            )
        return self

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
        """Environment over `.env`; constructor arguments are for tests."""
        del settings_cls, file_secret_settings
        return init_settings, env_settings, dotenv_settings


def load_settings(env_file: Path | None = Path(".env"), **overrides: Any) -> Settings:
    """The settings of this process, from the environment over `env_file`.

    Raises:
        SettingsError: lists every missing or wrong variable by name and how to mend it, never a value.
    """
    try:
        return Settings(_env_file=env_file, **overrides)
    except ValidationError as error:
        # from None: pydantic's error holds the input.
        raise _explained(error) from None


def _explained(error: ValidationError) -> SettingsError:
    problems = [_problem(dict(detail)) for detail in error.errors(include_input=False, include_url=False)]
    return SettingsError(problems, _ADVICE)


_REMEDIES = {
    "aws_region": "set it to the Region of the KMS keys, such as eu-central-1",
    "database_url": "set it to postgresql://user:password@host:5432/database",
}


def _problem(detail: Mapping[str, Any]) -> str:
    message = str(detail["msg"]).removeprefix("Value error, ")
    if not detail["loc"]:
        return message
    name = str(detail["loc"][0])
    if detail["type"] == "missing":
        return f"{name.upper()}: is required; {_REMEDIES[name]}"
    return f"{name.upper()}: {message[0].lower()}{message[1:]}"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
