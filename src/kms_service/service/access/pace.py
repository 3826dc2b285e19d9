"""How fast those who have no good token are answered: at their leisure, so that the others are in time."""

import asyncio
from collections.abc import Callable

# Nobody waits longer, well within a request's deadline.
LONGEST_SECONDS = 4.0


class Turns:
    """Gives turns at a bounded rate. Who waits holds a connection and nothing else: no place, no statement.

    Args:
        clock: monotonic.
        per_second: so many turns.
        at_once: so many come without waiting after a quiet while.
    """

    def __init__(self, clock: Callable[[], float], *, per_second: float, at_once: int) -> None:
        self._clock = clock
        self._each = 1 / per_second
        self._at_once = at_once
        self._next = clock()

    async def wait(self) -> bool:
        """Wait for the next turn, if there have been many of late; False when it is too far away."""
        seconds = self.take()
        if seconds > 0:
            await asyncio.sleep(min(seconds, LONGEST_SECONDS))
        return seconds <= LONGEST_SECONDS

    def take(self) -> float:
        """Take the next turn; answers in how many seconds it is, which if too far away is nobody's."""
        now = self._clock()
        turn = max(self._next, now - self._at_once * self._each)
        if turn <= now + LONGEST_SECONDS:
            self._next = turn + self._each
        return max(0.0, turn - now)
