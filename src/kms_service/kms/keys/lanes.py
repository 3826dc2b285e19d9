"""A bulkhead: so few calls under one key may be in flight that a key that hangs leaves room to others."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from itertools import count

# A healthy call takes milliseconds. From here on a full lane refuses in place of making others wait.
SLOW_SECONDS = 0.5


class Lane:
    """At most `width` calls at once.

    A full lane makes the next call wait while its calls are young, as they are when a key is merely busy, and
    refuses it as soon as the oldest has been unanswered for `SLOW_SECONDS`. Who waits longest goes first.
    """

    def __init__(self, width: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._width = width
        self._clock = clock
        self._numbers = count()
        # In the order of their start: the first is the oldest.
        self._started: dict[int, float] = {}
        self._waiting: deque[asyncio.Future[int]] = deque()

    @property
    def full(self) -> bool:
        """Whether a call would have to wait now."""
        return len(self._started) >= self._width

    async def enter(self) -> int | None:
        """A place in the lane, to be given back with `leave`; None when the lane is full of slow calls."""
        if not self.full:
            return self._take()
        turn: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            while not turn.done():
                patience = next(iter(self._started.values())) + SLOW_SECONDS - self._clock()
                if patience <= 0:
                    return None
                await asyncio.wait((turn,), timeout=patience)
            return turn.result()
        except BaseException:
            # Whoever got its turn and goes away all the same passes it on.
            if turn.done():
                self.leave(turn.result())
            raise
        finally:
            if not turn.done():
                self._waiting.remove(turn)

    def leave(self, place: int) -> None:
        """Give a place back; whoever waits longest has it at once."""
        del self._started[place]
        if self._waiting:
            self._waiting.popleft().set_result(self._take())

    def _take(self) -> int:
        place = next(self._numbers)
        self._started[place] = self._clock()
        return place
