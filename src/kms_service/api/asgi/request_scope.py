"""What every request gets: an id, a deadline, a size limit, a log line, metrics, and `no-store`."""

import asyncio
import re
import secrets
import time
from collections.abc import Iterable
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kms_service import context
from kms_service.api import problems
from kms_service.api.callers import caller_in
from kms_service.telemetry import metrics
from kms_service.telemetry.logs import get_logger

MAX_BODY_BYTES = 64 * 1024
# Reserved from a request's time, to answer that its body is late.
_ANSWER_SECONDS = 0.25
_ID_BYTES = 16
_PLAUSIBLE_ID = re.compile(rb"[A-Za-z0-9._-]{8,128}")
# All other methods that callers invent share one label.
_METHODS = frozenset({"GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"})
_PROBES = frozenset({"/livez", "/readyz", "/health", "/metrics"})

log = get_logger()


class BodyTooLarge(HTTPException):
    """The body is longer than allowed.

    An HTTPException, since FastAPI turns every other exception raised while it reads a body into a 400.
    """

    def __init__(self) -> None:
        super().__init__(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)


class BodyLate(HTTPException):
    """The body did not arrive in time; an HTTPException for the same reason.

    The rest of the body could not be told from the next request, so the connection ends.
    """

    def __init__(self) -> None:
        super().__init__(HTTPStatus.REQUEST_TIMEOUT, headers={"Connection": "close"})


class RequestScope:
    """The ASGI layer around the whole application. It answers errors that nothing inside has answered."""

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self._app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; other kinds of connections pass through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        context.request_id.set(_request_id(scope["headers"]))
        answer = _Answer(send)
        with context.deadline(self._seconds):
            try:
                await self._serve(scope, receive, answer)
            finally:
                _report(scope, answer)

    async def _serve(self, scope: Scope, receive: Receive, answer: "_Answer") -> None:
        try:
            await self._app(scope, _cap(scope, receive, self._seconds), answer.send)
        except (BodyTooLarge, BodyLate) as refusal:
            await problems.framework(refusal.status_code, refusal.headers)(scope, receive, answer.send)
        except Exception:  # the process's outermost boundary
            log.exception("unexpected_error")
            if answer.status:
                raise
            await problems.unexpected_error()(scope, receive, answer.send)


class _Answer:
    """Adds the headers that every answer has, and remembers the status."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0
        self.started = time.perf_counter()

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = int(message["status"])  # a redirect gives an enum, whose text differs
            headers = [*message.get("headers", ()), (b"x-request-id", str(context.request_id.get()).encode())]
            if all(name != b"cache-control" for name, _ in headers):
                headers.append((b"cache-control", b"no-store"))
            message = {**message, "headers": headers}
        await self._send(message)


def _request_id(headers: Iterable[tuple[bytes, bytes]]) -> str:
    for name, value in headers:
        if name == b"x-request-id" and _PLAUSIBLE_ID.fullmatch(value):
            return value.decode()
    return secrets.token_hex(_ID_BYTES)


def _declared_length(headers: Iterable[tuple[bytes, bytes]]) -> int:
    for name, value in headers:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0


def _cap(scope: Scope, receive: Receive, seconds: float) -> Receive:
    if _declared_length(scope["headers"]) > MAX_BODY_BYTES:
        raise BodyTooLarge
    received = 0
    whole = False

    async def receive_capped() -> Message:
        nonlocal received, whole
        if whole:
            return await receive()  # after a whole body, only a disconnect can come
        try:
            async with asyncio.timeout(context.time_left(seconds) - _ANSWER_SECONDS):
                message = await receive()
        except TimeoutError:
            raise BodyLate from None
        received += len(message.get("body", b""))
        whole = not message.get("more_body", False)
        if received > MAX_BODY_BYTES:
            raise BodyTooLarge
        return message

    return receive_capped


def _report(scope: Scope, answer: _Answer) -> None:
    # The template, never the path: a path holds user ids.
    route = getattr(scope.get("route"), "path", "unmatched")
    seconds = time.perf_counter() - answer.started
    method = scope["method"] if scope["method"] in _METHODS else metrics.OTHER
    metrics.series(metrics.http_requests, method, route, str(answer.status)).inc()
    metrics.series(metrics.http_duration, route).observe(seconds)
    report = log.debug if route in _PROBES else log.info
    caller = caller_in(scope)
    report(
        "request",
        **({} if caller is None else {"actor": caller.name}),
        method=scope["method"],
        route=route,
        status=answer.status,
        durationMs=round(seconds * 1000, 2),
    )
