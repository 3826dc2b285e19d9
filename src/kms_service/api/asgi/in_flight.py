"""The work that requests wait for: a bounded number at once, each under its request's deadline."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from fastapi import Request

from kms_service import context
from kms_service.bootstrap import Services
from kms_service.errors import Overloaded, TimedOut
from kms_service.telemetry import metrics
from kms_service.telemetry.logs import get_logger

P = ParamSpec("P")
T = TypeVar("T")

# Work still under way at shutdown ends by its own time-outs, well within this.
CLOSE_SECONDS = 5.0

log = get_logger()


class InFlight:
    """Runs each piece of work in its own task, which is not cancelled when the caller leaves (invariant 15).

    Work ends by the time-outs of what it waits for, even if its request was answered long before: a create
    whose caller has gone still records whether it made a wallet. Probes and metrics do not pass through here.
    """

    def __init__(self, most: int, seconds: float) -> None:
        self._most = most
        self._seconds = seconds
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run(self, work: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of `work` under the request's deadline.

        Raises:
            Overloaded: too much work is under way; this was not started.
            TimedOut: no result in time. The work continues, and keeps its place until it ends.
            And what `work` raises.
        """
        if len(self._tasks) >= self._most:
            metrics.overloaded.inc()
            raise Overloaded
        task = asyncio.create_task(work(*args, **kwargs))
        self._tasks.add(task)
        metrics.in_flight.inc()
        task.add_done_callback(self._leave)
        await _wait_for(task, max(0.0, context.time_left(self._seconds)))
        if task.done():
            return task.result()
        metrics.timed_out.inc()
        task.add_done_callback(_tell_late_outcome)
        raise TimedOut

    async def close(self) -> None:
        """Wait up to `CLOSE_SECONDS` for work still under way, then cancel it."""
        if not self._tasks:
            return
        _, left = await asyncio.wait(set(self._tasks), timeout=CLOSE_SECONDS)
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)

    def _leave(self, task: asyncio.Task[Any]) -> None:
        metrics.in_flight.dec()
        self._tasks.discard(task)


async def _wait_for(task: asyncio.Task[Any], seconds: float) -> None:
    """Wait up to `seconds` for the task, as `asyncio.wait` would, at half the cost."""
    loop = asyncio.get_running_loop()
    woken = loop.create_future()

    def wake(_: object = None) -> None:
        if not woken.done():
            woken.set_result(None)

    task.add_done_callback(wake)
    timer = loop.call_later(seconds, wake)
    try:
        await woken
    finally:
        timer.cancel()


def _tell_late_outcome(task: asyncio.Task[Any]) -> None:
    error = None if task.cancelled() else task.exception()
    outcome = "cancelled" if task.cancelled() else "done" if error is None else type(error).__name__
    log.info("late_outcome", outcome=outcome)


def services(request: Request) -> Services:
    """The services behind this application."""
    found: Services = request.app.state.services
    return found


async def in_time(
    request: Request, work: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Run `work` by this application's `InFlight`; raises as `InFlight.run`."""
    in_flight: InFlight = request.app.state.in_flight
    return await in_flight.run(work, *args, **kwargs)
