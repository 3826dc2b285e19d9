"""The one overall deadline of a request, under which every KMS and database wait has to fit.

It travels in a context variable, so that adapters find it without a parameter through every layer. Work that
serves no request (start, background, commands) runs without one.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_deadline: ContextVar[float | None] = ContextVar("deadline", default=None)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Everything inside must end within `seconds` from now; a tighter outer deadline stays in force."""
    end = time.monotonic() + seconds
    outer = _deadline.get()
    reset = _deadline.set(end if outer is None else min(end, outer))
    try:
        yield
    finally:
        _deadline.reset(reset)


def remaining(at_most: float) -> float:
    """Seconds left, never more than `at_most`; negative once the deadline has passed."""
    end = _deadline.get()
    return at_most if end is None else min(at_most, end - time.monotonic())


def allows(seconds: float) -> bool:
    """Whether something that may take `seconds` would still end in time."""
    return remaining(seconds) >= seconds
