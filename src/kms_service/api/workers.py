"""Where blocking work runs: few threads, a bounded queue, one deadline."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import anyio
import anyio.to_thread
from fastapi import Request

from kms_service import deadline
from kms_service.bootstrap import Services
from kms_service.errors import Overloaded, TimedOut

P = ParamSpec("P")
T = TypeVar("T")


class Workers:
    """Runs blocking calls in a few threads: they share one interpreter lock, so more would only switch.

    Probes and metrics never come here, so they answer while every thread is busy.
    """

    def __init__(self, threads: int, max_in_flight: int, seconds: float) -> None:
        self._threads = threads
        self._limiter: anyio.CapacityLimiter | None = None
        self._free = max_in_flight
        self._seconds = seconds

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of `work`, run in a thread under the request's deadline.

        Raises:
            Overloaded: too many calls are running or waiting.
            TimedOut: no answer in time. The thread is left to end by its own time-outs.
        """
        if self._free <= 0:
            raise Overloaded
        self._free -= 1
        try:
            with anyio.fail_after(max(0.0, deadline.remaining(self._seconds))):
                return await anyio.to_thread.run_sync(
                    lambda: work(*args, **kwargs), abandon_on_cancel=True, limiter=self._capacity()
                )
        except TimeoutError as error:
            raise TimedOut from error
        finally:
            self._free += 1

    def _capacity(self) -> anyio.CapacityLimiter:
        # Made late: it belongs to the event loop that serves.
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(self._threads)
        return self._limiter


def services(request: Request) -> Services:
    """The services behind this application."""
    found: Services = request.app.state.services
    return found


async def in_worker(request: Request, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """`Workers.run` of this application."""
    workers: Workers = request.app.state.workers
    return await workers.run(work, *args, **kwargs)
