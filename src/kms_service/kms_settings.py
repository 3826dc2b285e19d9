"""The settings that say where KMS is: in one Region, and maybe in a second one as a fallback."""

import re
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from kms_service.database_settings import DatabaseSettings
from kms_service.loopback import is_loopback

_REGION = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9:._-]+", re.ASCII)


def http_url(url: str) -> str:
    """The URL itself, if it is an http(s) URL with a host.

    Raises:
        ValueError: it is not one.
    """
    parts = _split(url)
    if parts is None or parts.scheme not in {"http", "https"} or not _HOST.fullmatch(parts.hostname or ""):
        raise ValueError("must be an http(s) URL")
    return url


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 # it is parsed when it is read
    except ValueError:
        # Dropped, since the parser's message quotes the URL with its password.
        return None
    return parts


def _region(name: str) -> str:
    if not _REGION.fullmatch(name):
        raise ValueError("must be a Region's name, such as eu-central-1")
    return name


class KmsSettings(DatabaseSettings):
    """The settings of the database and of KMS."""

    aws_region: Annotated[str, AfterValidator(_region)]
    aws_endpoint_url_kms: Annotated[str, AfterValidator(http_url)] | None = None
    kms_fallback_region: Annotated[str, AfterValidator(_region)] | None = None
    kms_fallback_endpoint_url: Annotated[str, AfterValidator(http_url)] | None = None
    kms_fallback_when_throttled: bool = False
    kms_hedging: bool = False
    kms_endpoint_allow_http: Annotated[bool, Field(validate_default=True)] = False

    @field_validator("kms_fallback_region")
    @classmethod
    def _is_another_region(cls, region: str | None, info: ValidationInfo) -> str | None:
        if region is not None and region == info.data.get("aws_region"):
            raise ValueError("must differ from AWS_REGION")
        return region

    @field_validator("kms_fallback_endpoint_url", "kms_fallback_when_throttled", "kms_hedging")
    @classmethod
    def _has_a_region(cls, value: str | bool | None, info: ValidationInfo) -> str | bool | None:
        if value and "kms_fallback_region" in info.data and info.data["kms_fallback_region"] is None:
            raise ValueError("needs KMS_FALLBACK_REGION")
        return value

    @field_validator("kms_endpoint_allow_http")
    @classmethod
    def _plain_http_stays_on_this_machine(cls, allowed: bool, info: ValidationInfo) -> bool:
        for name in ("aws_endpoint_url_kms", "kms_fallback_endpoint_url"):
            url = urlsplit(info.data.get(name) or "https://")
            if url.scheme == "http" and not allowed and not is_loopback(url.hostname or ""):
                raise ValueError(
                    f"plain http in {name.upper()} would carry DEKs over the network; "
                    "use https there, or set this to true for a stand-in"
                )
        return allowed

    @property
    def uses_kms_stand_in(self) -> bool:
        """Whether the KMS endpoint is on this machine, so that it has no AWS account and no key policies."""
        host = urlsplit(self.aws_endpoint_url_kms or "").hostname
        return host is not None and is_loopback(host)
