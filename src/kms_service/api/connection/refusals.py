"""What a connection answers by itself, before there is a request that the application could answer."""

import uuid
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass
from functools import partial

from starlette.responses import JSONResponse
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from kms_service import context
from kms_service.api import problems
from kms_service.errors import Overloaded


@dataclass(frozen=True, slots=True)
class Refusal:
    """A problem to answer, and its name in the metrics."""

    reason: str
    make: Callable[[], JSONResponse]

    def answer(self) -> bytes:
        """The complete answer, with a new request id, for a connection that closes after it."""
        # In a new context: the current one may be the previous request's.
        return Context().run(_serialize, self.make)


TOO_LARGE = Refusal("head_too_large", partial(problems.refusal, "headers_too_large"))
MALFORMED = Refusal("malformed", partial(problems.refusal, "malformed_request"))
_VERSIONS = frozenset({"1.0", "1.1"})
_PROBES = frozenset({b"/livez", b"/readyz", b"/health"})
FULL = Refusal("too_many", lambda: problems.response(Overloaded()))


def judge(
    target: bytes, headers: list[tuple[bytes, bytes]], version: str, *, only_probes: bool
) -> Refusal | None:
    """Why a request with this head is refused; None if it is not.

    Args:
        target: as it was sent.
        headers: with names in lower case.
        version: of HTTP, such as `1.1`.
        only_probes: there are too many connections for anything else.
    """
    hosts = sum(name == b"host" for name, _ in headers)
    if version not in _VERSIONS or hosts > 1 or (hosts == 0 and version == "1.1"):
        return MALFORMED
    if only_probes and target.partition(b"?")[0] not in _PROBES:
        return FULL
    return None


def _serialize(make: Callable[[], JSONResponse]) -> bytes:
    number = uuid.uuid4().hex
    context.request_id.set(number)
    response = make()
    headers = [
        *response.raw_headers,
        (b"x-request-id", number.encode()),
        (b"cache-control", b"no-store"),
        (b"connection", b"close"),
    ]
    lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
    return STATUS_LINE[response.status_code] + lines + b"\r\n" + bytes(response.body)
