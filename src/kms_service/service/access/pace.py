"""How fast those who have no good token are answered: at their leisure, so that the others are in time."""

import asyncio
from collections.abc import Callable

# A refusal costs about a millisecond of the one processor that a process has, so this is a tenth of it.
REFUSALS_PER_SECOND = 100
# So many come at once without waiting: a deployment with a wrong token is told at once.
BURST = 50
# Nobody waits longer, well within a request's deadline.
LONGEST_SECONDS = 4.0


class RefusalPace:
    """Gives each refusal its turn. Who waits holds a connection and nothing else: no place, no statement."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._next = clock()

    async def wait(self) -> None:
        """Wait for the next turn, if there have been many of late."""
        seconds = self.take_turn()
        if seconds > 0:
            await asyncio.sleep(seconds)

    def take_turn(self) -> float:
        """Take the next turn; answers in how many seconds it is."""
        now, each = self._clock(), 1 / REFUSALS_PER_SECOND
        turn = min(max(self._next, now - BURST * each), now + LONGEST_SECONDS)
        self._next = turn + each
        return max(0.0, turn - now)
