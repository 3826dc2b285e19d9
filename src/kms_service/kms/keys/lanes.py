"""A bulkhead: it bounds the calls under one key, so that a key that hangs leaves room for others."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from itertools import count

# A healthy call takes milliseconds. Once the oldest has taken this long, a full lane refuses new calls.
SLOW_SECONDS = 0.5


class Lane:
    """Lets at most `width` calls run at once.

    A full lane makes the next call wait while its calls are young, as when a key is merely busy. It refuses
    the call once the oldest one has been unanswered for `SLOW_SECONDS`. Calls enter in order of arrival.
    """

    def __init__(self, width: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._width = width
        self._clock = clock
        self._numbers = count()
        # In order of their start: the first is the oldest.
        self._started: dict[int, float] = {}
        self._waiting: deque[asyncio.Future[int]] = deque()

    @property
    def full(self) -> bool:
        """Whether a call would have to wait now."""
        return len(self._started) >= self._width

    async def enter(self) -> int | None:
        """A place in the lane, to be given back with `leave`; None if the lane is full of slow calls."""
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
            # Cancelled after it got a place: pass the place on.
            if turn.done():
                self.leave(turn.result())
            raise
        finally:
            if not turn.done():
                self._waiting.remove(turn)

    def leave(self, place: int) -> None:
        """Give a place back; the call that has waited longest gets it at once."""
        del self._started[place]
        if self._waiting:
            self._waiting.popleft().set_result(self._take())

    def _take(self) -> int:
        place = next(self._numbers)
        self._started[place] = self._clock()
        return place
