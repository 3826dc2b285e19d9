"""How long a connection may take: everything that a caller has to do has a time limit."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

HANDSHAKE_SECONDS = 5.0
HEAD_SECONDS = 5.0
PROBE_HEAD_SECONDS = 1.0
LAST_HEAD_SECONDS = 1.0
# A refused caller may still be sending; closing on it would reset the connection and lose the answer.
LINGER_SECONDS = 1.0
FLUSH_SECONDS = 5.0
# Past the deadline at which the application answers a late body itself.
_BODY_GRACE_SECONDS = 1.0


class Awaited(Enum):
    """What a connection waits for; the value is the reason in the metrics if it does not come."""

    HEAD = "head_late"
    BODY = "body_late"
    ANSWER = "answer_late"
    REQUEST = "idle"


@dataclass(frozen=True, slots=True)
class Patience:
    """The time limits of a connection, in seconds.

    Attributes:
        request: from a request's head to the end of its body, and for the caller to read an answer.
        idle: between two requests.
    """

    request: float
    idle: float

    def seconds(self, awaited: Awaited, *, only_probes: bool) -> float | None:
        """The limit of this wait; None for an answer, since the application has its own deadline."""
        match awaited:
            case Awaited.HEAD:
                return PROBE_HEAD_SECONDS if only_probes else HEAD_SECONDS
            case Awaited.BODY:
                return self.request + _BODY_GRACE_SECONDS
            case Awaited.REQUEST:
                return self.idle
        return None


def choose_awaited(served: RequestResponseCycle | None, *, in_head: bool, owes_answer: bool) -> Awaited:
    """What a connection waits for now, given the request it served last."""
    if owes_answer:
        return Awaited.ANSWER
    if in_head or served is None:
        return Awaited.HEAD
    return Awaited.BODY if served.more_body else Awaited.REQUEST


class Wait:
    """A timer for one wait at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, seconds: float, then: Callable[..., None], *arguments: object) -> None:
        """Call `then` after `seconds`, in place of any earlier wait."""
        self.end()
        self._timer = self._loop.call_later(seconds, then, *arguments)

    def end(self) -> None:
        """Cancel the wait, if there is one."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
