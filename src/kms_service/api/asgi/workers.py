"""Where blocking work runs: few threads, a bounded queue, one deadline."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import ParamSpec, TypeVar

from fastapi import Request

from kms_service import deadline
from kms_service.bootstrap import Services
from kms_service.errors import Overloaded, TimedOut
from kms_service.telemetry import metrics

P = ParamSpec("P")
T = TypeVar("T")


class Workers:
    """Runs blocking calls in a few threads: they share one interpreter lock, so more would only switch.

    Probes and metrics never come here, so they answer while every thread is busy.
    """

    def __init__(self, threads: int, max_in_flight: int, seconds: float) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="worker")
        self._places = threading.Semaphore(max_in_flight)
        self._seconds = seconds

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of `work`, run in a thread under the request's deadline.

        Raises:
            Overloaded: too many calls are running or waiting.
            TimedOut: no answer in time. Work that waits is dropped. Work under way ends by its own time-outs,
                and holds its thread and its place until it has.
        """
        if not self._places.acquire(blocking=False):
            metrics.overloaded.inc()
            raise Overloaded
        future = self._executor.submit(copy_context().run, lambda: work(*args, **kwargs))
        metrics.in_flight.inc()
        future.add_done_callback(self._leave)
        try:
            async with asyncio.timeout(max(0.0, deadline.remaining(self._seconds))):
                return await asyncio.wrap_future(future)
        except TimeoutError as error:
            metrics.timed_out.inc()
            raise TimedOut from error

    def close(self) -> None:
        """Take no more work; what is under way ends by its own time-outs."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _leave(self, _: "Future[T]") -> None:
        metrics.in_flight.dec()
        self._places.release()


def services(request: Request) -> Services:
    """The services behind this application."""
    found: Services = request.app.state.services
    return found


async def in_worker(request: Request, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """`Workers.run` of this application."""
    workers: Workers = request.app.state.workers
    return await workers.run(work, *args, **kwargs)
