"""How long a connection is waited for: nothing that a caller has to do is waited for without a bound."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

HANDSHAKE_SECONDS = 5.0
HEAD_SECONDS = 5.0
PROBE_HEAD_SECONDS = 1.0
LAST_HEAD_SECONDS = 1.0
# A refused caller may still be sending, and what it sends after the end would take the answer with it.
LINGER_SECONDS = 1.0
FLUSH_SECONDS = 5.0
# Past the deadline at which the application answers a late body itself.
_BODY_GRACE_SECONDS = 1.0


class Awaited(Enum):
    """What a connection waits for; the value is the reason in the metrics when it does not come."""

    HEAD = "head_late"
    BODY = "body_late"
    ANSWER = "answer_late"
    REQUEST = "idle"


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a connection is waited for, in seconds.

    Attributes:
        request: from a request's head to the end of its body, and for an answer to be taken.
        idle: between two requests.
    """

    request: float
    idle: float

    def seconds(self, awaited: Awaited, *, only_probes: bool) -> float | None:
        """How long; None for an answer, since the application keeps a deadline of its own."""
        match awaited:
            case Awaited.HEAD:
                return PROBE_HEAD_SECONDS if only_probes else HEAD_SECONDS
            case Awaited.BODY:
                return self.request + _BODY_GRACE_SECONDS
            case Awaited.REQUEST:
                return self.idle
        return None


def awaited(served: RequestResponseCycle | None, *, in_head: bool, owes_answer: bool) -> Awaited:
    """What a connection that has served this request last waits for now."""
    if owes_answer:
        return Awaited.ANSWER
    if in_head or served is None:
        return Awaited.HEAD
    return Awaited.BODY if served.more_body else Awaited.REQUEST


class Wait:
    """One wait of a connection at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, seconds: float, then: Callable[..., None], *arguments: object) -> None:
        """Do something after so long, in place of what was to be done before."""
        self.end()
        self._timer = self._loop.call_later(seconds, then, *arguments)

    def end(self) -> None:
        """Wait for nothing."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
