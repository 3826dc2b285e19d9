"""A bulkhead: so few calls under one key may be in flight that a key that hangs leaves threads to others."""

import threading
import time
from collections.abc import Callable
from itertools import count

# A healthy call takes milliseconds. From here on a full lane refuses in place of making others wait.
SLOW_SECONDS = 0.5


class Lane:
    """At most `width` calls at once.

    A full lane makes the next call wait while its calls are young, as they are when a key is merely busy, and
    refuses it as soon as the oldest has been unanswered for `SLOW_SECONDS`.
    """

    def __init__(self, width: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._width = width
        self._clock = clock
        self._changed = threading.Condition()
        self._numbers = count()
        self._started: dict[int, float] = {}

    @property
    def full(self) -> bool:
        """Whether a call would have to wait now."""
        return len(self._started) >= self._width

    def enter(self) -> int | None:
        """A place in the lane, to be given back with `leave`; None when the lane is full of slow calls."""
        with self._changed:
            while self.full:
                patience = min(self._started.values()) + SLOW_SECONDS - self._clock()
                if patience <= 0:
                    return None
                self._changed.wait(patience)
            place = next(self._numbers)
            self._started[place] = self._clock()
            return place

    def leave(self, place: int) -> None:
        """Give a place back."""
        with self._changed:
            del self._started[place]
            self._changed.notify()
