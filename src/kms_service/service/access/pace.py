"""Slows down the answers to callers without a good token, so that good callers are served in time."""

import asyncio
from collections.abc import Callable

# The longest wait, well within a request's deadline.
LONGEST_SECONDS = 4.0


class Turns:
    """Gives turns at a bounded rate. A waiting request holds its connection, but no place and no statement.

    Args:
        clock: monotonic seconds.
        per_second: how many turns per second.
        at_once: how many come without waiting after a quiet period.
    """

    def __init__(self, clock: Callable[[], float], *, per_second: float, at_once: int) -> None:
        self._clock = clock
        self._each = 1 / per_second
        self._at_once = at_once
        self._next = clock()

    async def wait(self) -> bool:
        """Wait for the next turn; False if that is too far away: then LONGEST_SECONDS were waited instead."""
        seconds = self.take()
        if seconds > 0:
            await asyncio.sleep(min(seconds, LONGEST_SECONDS))
        return seconds <= LONGEST_SECONDS

    def take(self) -> float:
        """Take the next turn; returns the seconds until then. If over LONGEST_SECONDS, none was taken."""
        now = self._clock()
        turn = max(self._next, now - self._at_once * self._each)
        if turn <= now + LONGEST_SECONDS:
            self._next = turn + self._each
        return max(0.0, turn - now)
