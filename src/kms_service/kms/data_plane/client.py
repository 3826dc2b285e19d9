"""A client of KMS's JSON protocol: signs, sends, retries, and says how a call failed.

Source: https://docs.aws.amazon.com/kms/latest/APIReference/Welcome.html
"""

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus

from kms_service import __version__
from kms_service.context import has_time_for
from kms_service.errors import KmsServiceError, KmsUnavailable
from kms_service.kms import faults
from kms_service.kms.calls import Call
from kms_service.kms.data_plane import provider_chain, replies, surroundings
from kms_service.kms.data_plane.attempts import ATTEMPT_SECONDS, Attempts, Failure
from kms_service.kms.data_plane.connection import Answer, NoAnswer
from kms_service.kms.data_plane.credentials import Credentials, fixed_walk
from kms_service.kms.data_plane.hooks import Hooks
from kms_service.kms.data_plane.provider_chain import Loaded, NoCredentials
from kms_service.kms.data_plane.replies import Garbled, Reply
from kms_service.kms.data_plane.signer import AccessKeys, Signer
from kms_service.kms.data_plane.transport import Transport
from kms_service.kms.errors import KmsCallNotMade, KmsNoCredentials, KmsRegionFault, KmsTimedOut
from kms_service.settings import Settings

TOO_LATE = "TooLate"
CLOSED = "closed"
GARBLED = "garbled reply"
# KMS does not accept these credentials, or no longer: they may have been replaced.
_STALE_CREDENTIALS = frozenset(
    {"ExpiredTokenException", "InvalidSignatureException", "UnrecognizedClientException"}
)
_USER_AGENT = f"kms-service/{__version__}"


def connect(settings: Settings) -> "KmsClient":
    """The process's KMS client for AWS_REGION; no I/O until the first call.

    Args:
        settings: Region, endpoint, and static credentials if there are any.
    """
    return _client(settings, settings.aws_region, settings.aws_endpoint_url_kms)


def connect_fallback(settings: Settings) -> "KmsClient | None":
    """The process's KMS client for KMS_FALLBACK_REGION; None if that is not set; no I/O until the first call.

    It gets its own credentials: when a Region is unavailable, its STS may be too.
    """
    region = settings.kms_fallback_region
    return None if region is None else _client(settings, region, settings.kms_fallback_endpoint_url)


def _client(settings: Settings, region: str, endpoint: str | None) -> "KmsClient":
    access_key_id, secret = settings.aws_access_key_id, settings.aws_secret_access_key
    if access_key_id is None or secret is None:
        walk: Callable[[], Loaded] = partial(provider_chain.walk, region)
    else:
        token = settings.aws_session_token
        revealed = None if token is None else token.get_secret_value()
        walk = fixed_walk(AccessKeys(access_key_id, secret.get_secret_value(), revealed))
    return KmsClient(endpoint, region, Credentials(walk))


class KmsClient:
    """The calls of one process to KMS in one Region. It belongs to one event loop.

    Args:
        endpoint: http(s) URL; None for AWS's own.
        region: the Region that requests are signed for, and of AWS's own endpoint.
        credentials: owned by the client, which closes them.
    """

    def __init__(self, endpoint: str | None, region: str, credentials: Credentials) -> None:
        self._endpoint = endpoint
        self._region = region
        self._credentials = credentials
        self._attempts = Attempts()
        self._hooks = Hooks()
        self._opening = asyncio.Lock()
        self._line: _Line | None = None
        self._closed = False

    @property
    def region(self) -> str:
        """The Region that is asked."""
        return self._region

    @property
    def credentials_problem(self) -> str | None:
        """Why there are no valid credentials now, in one word; None if there are, or nobody asked yet."""
        return self._credentials.problem

    async def ask(self, call: Call, key: str, members: Mapping[str, object]) -> Reply:
        """Have KMS do one operation, with as many attempts as make sense within the deadline.

        Args:
            call: the operation; its requests are counted there.
            key: ARN or alias, for errors.
            members: the request, ready for JSON; that of an Encrypt holds a plaintext DEK.

        Raises:
            KmsCallNotMade: there is no time, there are no valid credentials, KMS cannot be located, or the
                client is closed.
            IntegrityFailure, KmsThrottled, KmsKeyUnusable, KmsUnavailable: KMS refused it, or did not answer.
        """
        body = json.dumps(members).encode()
        last: Failure | None = None
        number = 1
        while True:
            answer = await self._send(call, key, body)
            if isinstance(answer, Answer):
                call.request_id = answer.headers.get(replies.REQUEST_ID)
                if not replies.is_error(answer):
                    self._attempts.note_success(last)
                    return _read(answer, key)
            failure = _failure(answer)
            pause = self._attempts.pause(call.operation, number, failure)
            if pause is None:
                raise self._error(failure, call, key)
            last = failure
            number += 1
            await asyncio.sleep(pause)

    async def close(self) -> None:
        """Close all connections and stop refreshing credentials, for good."""
        self._closed = True
        self._credentials.close()
        if self._line is not None:
            line, self._line = self._line, None
            await line.transport.close()

    async def _send(self, call: Call, key: str, body: bytes) -> Answer | NoAnswer:
        if self._closed:
            raise KmsCallNotMade(CLOSED, key)
        try:
            keys = await self._credentials.current()
        except NoCredentials as error:
            raise KmsNoCredentials(error.name, key) from None
        line = self._line or await self._open(key)
        if not has_time_for(ATTEMPT_SECONDS):
            raise KmsCallNotMade(TOO_LATE, key)
        headers = line.signer.sign(keys, call.operation, body, time.time())
        headers["user-agent"] = _USER_AGENT
        call.requests += 1
        hooked = self._hooks.answer(call.operation, line.signer.url, headers, body)
        if hooked is not None:
            return hooked
        try:
            return await line.transport.post(headers, body)
        except NoAnswer as error:
            return error

    async def _open(self, key: str) -> "_Line":
        async with self._opening:
            if self._line is None:
                try:
                    found = await asyncio.to_thread(surroundings.look, self._endpoint, self._region)
                except surroundings.Unreachable as error:
                    raise KmsCallNotMade(error.name, key) from None
                signer = Signer(found.url, self._region)
                self._line = _Line(signer, Transport(signer.url, found.tls, found.proxy))
            return self._line

    def _error(self, failure: Failure, call: Call, key: str) -> KmsServiceError:
        if failure.code in _STALE_CREDENTIALS:
            self._credentials.distrust()
        if failure.timed_out:
            return KmsTimedOut(failure.code, key)
        if failure.status is None:
            return KmsRegionFault(failure.code, key)
        error = faults.from_code(failure.code, key, call.request_id)
        if isinstance(error, KmsUnavailable) and failure.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return KmsRegionFault(failure.code, key, call.request_id)
        return error


@dataclass(frozen=True, slots=True)
class _Line:
    """What is made at the first call: the signer for KMS's endpoint, and the connections to it."""

    signer: Signer
    transport: Transport


def _failure(answer: Answer | NoAnswer) -> Failure:
    if isinstance(answer, NoAnswer):
        return Failure(answer.name, None, timed_out=answer.timed_out)
    return Failure(replies.error_code(answer), answer.status, retry_after=replies.seconds_to_wait(answer))


def _read(answer: Answer, key: str) -> Reply:
    try:
        return replies.read(answer)
    except Garbled:
        raise KmsUnavailable(GARBLED, key, answer.headers.get(replies.REQUEST_ID)) from None
