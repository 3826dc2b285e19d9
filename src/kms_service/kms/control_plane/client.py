"""boto3's KMS client for operators' commands: made at the first call, and used in threads.

The data plane has its own client, so that a serving process does not load boto3 for KMS.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from kms_service.kms.control_plane.failure import AdministrationFailed
from kms_service.kms.data_plane.attempts import ATTEMPTS, CONNECT_SECONDS, READ_SECONDS
from kms_service.kms.data_plane.surroundings import may_use_proxy
from kms_service.settings import Settings

if TYPE_CHECKING:
    import boto3
    from types_boto3_kms import KMSClient

_Answer = TypeVar("_Answer")


class ControlPlane:
    """A boto3 client with the settings' credentials, or those that boto3 finds; no I/O until the first call.

    Args:
        settings: Region, endpoint, and static credentials if there are any.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._made: KMSClient | None = None
        self._making = asyncio.Lock()

    @property
    def region(self) -> str:
        """The Region that is asked."""
        return self._settings.aws_region

    async def ask(self, operation: str, key: str, call: "Callable[[KMSClient], _Answer]") -> _Answer:
        """Run `call` with the client, in a thread; returns what it returns.

        Args:
            operation: KMS's name for it, for errors.
            key: ARN, alias or what else it is about, for errors.
            call: may make several requests, as for the pages of a list.

        Raises:
            AdministrationFailed: KMS did not do it.
        """
        return await in_thread(operation, key, partial(call, await self._client()))

    async def _client(self) -> "KMSClient":
        async with self._making:
            if self._made is None:
                self._made = await in_thread("CreateClient", "KMS", partial(_make, self._settings))
            return self._made


async def in_thread(operation: str, key: str, call: Callable[[], _Answer]) -> _Answer:
    """Run a call of boto3 in a thread; returns what it returns.

    Raises:
        AdministrationFailed: AWS did not do it.
    """
    return await asyncio.to_thread(_map_errors, operation, key, call)


def session(settings: Settings) -> "boto3.Session":
    """A boto3 session with credentials from the settings or boto3's own chain, in the settings' Region."""
    import boto3  # noqa: PLC0415 # 20 MB that a serving process does without

    return boto3.Session(
        aws_access_key_id=settings.aws_access_key_id,
        aws_secret_access_key=_reveal(settings.aws_secret_access_key),
        aws_session_token=_reveal(settings.aws_session_token),
        region_name=settings.aws_region,
    )


def s3_client(settings: Settings) -> Any:
    """A boto3 client of S3, with the same credentials, time-outs and retries as that of KMS."""
    from botocore.config import Config  # noqa: PLC0415 # as boto3

    config = Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        ignore_configured_endpoint_urls=True,  # type: ignore[call-arg] # as below
    )
    return session(settings).client("s3", endpoint_url=settings.aws_endpoint_url_s3, config=config)


def _map_errors(operation: str, key: str, call: Callable[[], _Answer]) -> _Answer:
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 # as boto3

    try:
        return call()
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", "Unknown"))
        raise AdministrationFailed(operation, key, code) from None
    except BotoCoreError as error:
        # Only the type: the text may quote parameters.
        raise AdministrationFailed(operation, key, type(error).__name__) from None
    except (ValueError, TypeError, KeyError, AttributeError):
        # botocore's parser, or ours, met a reply that is not from AWS.
        raise AdministrationFailed(operation, key, "garbled reply") from None


def _make(settings: Settings) -> "KMSClient":
    from botocore.config import Config  # noqa: PLC0415 # as boto3

    endpoint = settings.aws_endpoint_url_kms
    config = Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        # Only our own setting chooses the endpoint, never a variable that was set for another service.
        ignore_configured_endpoint_urls=True,  # type: ignore[call-arg] # the stubs lack it
        # With None botocore reads the environment; an empty dictionary means no proxy.
        proxies=None if endpoint is None or may_use_proxy(endpoint) else {},
        # Validation costs time, and the calls here are fixed and type-checked.
        parameter_validation=False,
    )
    client: KMSClient = session(settings).client("kms", endpoint_url=endpoint, config=config)
    return client


def _reveal(secret: Any) -> str | None:
    return None if secret is None else str(secret.get_secret_value())
