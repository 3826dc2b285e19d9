"""The boto3 client of a process: its endpoint, its time-outs, and what is tried again."""

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ConnectTimeoutError, ReadTimeoutError

from kms_service import deadline
from kms_service.settings import Settings

if TYPE_CHECKING:
    from types_boto3_kms import KMSClient

CONNECT_SECONDS = 1.0
READ_SECONDS = 2.0
ATTEMPTS = 3
BACK_OFF_SECONDS = 1.0  # botocore's standard mode: up to 1 s before the second attempt, 2 s before the third


def connect(settings: Settings, *, connections: int) -> "KMSClient":
    """The process's boto3 client, with credentials from the settings or boto3's own chain.

    Args:
        settings: Region, endpoint, and static credentials if there are any.
        connections: size of the HTTP connection pool: one for each thread.

    Raises:
        SettingsError: never; settings were checked before.
    """
    client: KMSClient = session(settings).client(
        "kms", endpoint_url=settings.aws_endpoint_url_kms, config=_config(connections)
    )
    return client


def session(settings: Settings) -> boto3.Session:
    """A boto3 session with credentials from the settings or boto3's own chain, in the settings' Region."""
    return boto3.Session(
        aws_access_key_id=settings.aws_access_key_id,
        aws_secret_access_key=_revealed(settings.aws_secret_access_key),
        aws_session_token=_revealed(settings.aws_session_token),
        region_name=settings.aws_region,
    )


def _config(connections: int) -> Config:
    return Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        max_pool_connections=connections,
        tcp_keepalive=True,
        # Only our own setting chooses the endpoint, never a variable left over for another service.
        ignore_configured_endpoint_urls=True,  # type: ignore[call-arg] # the stubs lack it
        # Validation costs CPU on every call; the calls here are fixed and typed.
        parameter_validation=False,
    )


def _revealed(secret: Any) -> str | None:
    return None if secret is None else str(secret.get_secret_value())


def limit_attempts(client: "KMSClient") -> None:
    """Have the client try no call again that nobody would wait for, or that a caller tries elsewhere."""
    client.meta.events.register_first("before-send.kms", _refuse_late_attempts)
    client.meta.events.register_first("needs-retry.kms", _leave_time_outs)
    client.meta.events.register_first("needs-retry.kms", _leave_late_retries)
    client.meta.events.register_first("needs-retry.kms.Encrypt", _leave_retry_to_the_pool)
    client.meta.events.register_first("needs-retry.kms.ReEncrypt", _leave_retry_to_the_caller)


class TooLate(BotoCoreError):
    """An attempt was not made, since it could outlive the request's deadline."""

    fmt = "The deadline leaves no time for another attempt"


def _refuse_late_attempts(**_: Any) -> None:
    if not deadline.allows(CONNECT_SECONDS + READ_SECONDS):
        raise TooLate


def _leave_time_outs(caught_exception: Exception | None = None, **_: Any) -> None:
    if isinstance(caught_exception, ConnectTimeoutError | ReadTimeoutError):
        raise caught_exception


def _leave_late_retries(
    response: tuple[Any, Any] | None = None,
    caught_exception: Exception | None = None,
    **_: Any,
) -> None:
    # Without this, TooLate would hide why the first attempt failed.
    if not deadline.allows(BACK_OFF_SECONDS + CONNECT_SECONDS + READ_SECONDS):
        _raise_outcome(response, caught_exception, HTTPStatus.BAD_REQUEST)


def _leave_retry_to_the_pool(
    response: tuple[Any, Any] | None = None, caught_exception: Exception | None = None, **_: Any
) -> None:
    _raise_outcome(response, caught_exception, HTTPStatus.INTERNAL_SERVER_ERROR)


def _leave_retry_to_the_caller(
    response: tuple[Any, Any] | None = None, caught_exception: Exception | None = None, **_: Any
) -> None:
    _raise_outcome(response, caught_exception, HTTPStatus.BAD_REQUEST)


def _raise_outcome(
    response: tuple[Any, Any] | None, caught_exception: Exception | None, status: HTTPStatus
) -> None:
    if caught_exception is not None:
        raise caught_exception
    if response is not None and response[0].status_code >= status:
        raise ClientError(response[1], "KMS")
