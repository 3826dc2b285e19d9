"""The work under way: the request it belongs to, and by when it must end.

It travels in context variables, so that adapters, log lines and audit rows find it without a parameter
through every layer; who acts is a parameter of every use case. Every wait for KMS and the database has to
fit under the one deadline of its request. Work that serves no request (start, background, commands) runs
without one.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
_deadline: ContextVar[float | None] = ContextVar("deadline", default=None)


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Have everything inside end within `seconds` from now; a tighter outer deadline stays in force."""
    end = time.monotonic() + seconds
    outer = _deadline.get()
    reset = _deadline.set(end if outer is None else min(end, outer))
    try:
        yield
    finally:
        _deadline.reset(reset)


def time_left(at_most: float) -> float:
    """Seconds until the deadline, never more than `at_most`; negative once it has passed."""
    end = _deadline.get()
    return at_most if end is None else min(at_most, end - time.monotonic())


def has_time_for(seconds: float) -> bool:
    """Whether something that may take `seconds` would still end in time."""
    return time_left(seconds) >= seconds
