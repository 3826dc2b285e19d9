"""A steady rate for many tasks of one process."""

import asyncio
import time


class Pace:
    """Lets callers through at a steady rate; with None, all at once."""

    def __init__(self, rate_per_second: float | None) -> None:
        self._interval = 0.0 if rate_per_second is None else 1 / rate_per_second
        self._next = time.monotonic()

    async def wait(self) -> None:
        """Return when it is the caller's turn."""
        if not self._interval:
            return
        turn = max(self._next, time.monotonic())
        self._next = turn + self._interval
        await asyncio.sleep(max(0.0, turn - time.monotonic()))
