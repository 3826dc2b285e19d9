"""Asks a second Region as well, once a Decrypt has taken longer than 99 in a hundred do.

It is off unless KMS_HEDGING is set: one Decrypt in a hundred costs twice as much, and leaves a second record
in CloudTrail. Both requests name the same key, so either answer opens the wallet.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from kms_service.errors import KmsServiceError
from kms_service.telemetry import metrics

KEPT = 1000
ENOUGH = 100
_EVERY = 50
_SHARE = 0.99

Answer = TypeVar("Answer")
Asked = Coroutine[Any, Any, Answer]


class Slowest:
    """The p99 of the last thousand Decrypts of one process in one Region."""

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=KEPT)
        self._since = 0
        self._p99: float | None = None

    @property
    def p99(self) -> float | None:
        """Seconds; None until there were a hundred Decrypts."""
        return self._p99

    def add(self, seconds: float) -> None:
        """Add the seconds of one Decrypt; the p99 is computed at every fiftieth."""
        self._seconds.append(seconds)
        self._since += 1
        if len(self._seconds) >= ENOUGH and (self._since >= _EVERY or self._p99 is None):
            self._since = 0
            ordered = sorted(self._seconds)
            self._p99 = ordered[int(_SHARE * (len(ordered) - 1))]


class Hedge:
    """Asks a second Region when the first is slow. It belongs to one event loop.

    The slower call is left to run to its end, so that its Region's circuit learns the outcome.
    """

    def __init__(self) -> None:
        self._slowest = Slowest()
        self._under_way: set[asyncio.Task[Any]] = set()

    async def first_of(
        self,
        home: Asked[Answer],
        beside: Callable[[], Asked[Answer] | None],
        *,
        settles: Callable[[KmsServiceError], bool],
    ) -> Answer:
        """The first good answer of the two.

        Args:
            home: asks the first Region.
            beside: returns what asks the second Region; None if that is not worth it.
            settles: whether an error of the first Region is final, as a refusal is.

        Raises:
            What the first Region raised, if that is final or the second has no answer either.
        """
        first = self._begin(self._time(home))
        other = beside() if await self._is_slow(first) else None
        if other is None:
            return await first
        metrics.region_hedges.inc()
        second = self._begin(other)
        await asyncio.wait({first, second}, return_when=asyncio.FIRST_COMPLETED)
        if not first.done() and not _is_success(second):
            await asyncio.wait({first})
        if first.done() and not (_is_success(first) or _is_settled(first, settles)):
            await asyncio.wait({second})
        if first.done() and (_is_success(first) or _is_settled(first, settles) or not _is_success(second)):
            return first.result()
        return second.result()

    def close(self) -> None:
        """Cancel the calls under way."""
        for task in self._under_way:
            task.cancel()

    async def _is_slow(self, first: "asyncio.Task[Answer]") -> bool:
        p99 = self._slowest.p99
        if p99 is None:
            return False
        done, _ = await asyncio.wait({first}, timeout=p99)
        return not done

    async def _time(self, asked: Asked[Answer]) -> Answer:
        started = time.monotonic()
        answer = await asked
        self._slowest.add(time.monotonic() - started)
        return answer

    def _begin(self, asked: Asked[Answer]) -> "asyncio.Task[Answer]":
        task = asyncio.create_task(asked)
        self._under_way.add(task)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: "asyncio.Task[Any]") -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # read it, or asyncio logs that it was never retrieved


def _is_success(task: "asyncio.Task[Any]") -> bool:
    return not task.cancelled() and task.exception() is None


def _is_settled(task: "asyncio.Task[Any]", settles: Callable[[KmsServiceError], bool]) -> bool:
    error = None if task.cancelled() else task.exception()
    return not isinstance(error, KmsServiceError) or settles(error)
