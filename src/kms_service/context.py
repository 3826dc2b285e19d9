"""The request that is being served: its id, and the one deadline that all its work shares.

Both travel in context variables, so that adapters, log lines and audit rows find them without a parameter
through every layer. The caller does not: every use case takes it as a parameter. Every wait for KMS or the
database must fit within the request's deadline. Work that serves no request (start, background, commands)
runs without a deadline.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
_deadline: ContextVar[float | None] = ContextVar("deadline", default=None)


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Set the block's deadline to `seconds` from now; an earlier outer deadline stays in force."""
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
    """Whether something that may take `seconds` can still finish before the deadline."""
    return time_left(seconds) >= seconds
