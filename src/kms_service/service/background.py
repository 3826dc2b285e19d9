"""Work that repeats in the background, each piece in its own task."""

import asyncio
import random
from collections.abc import Awaitable, Callable

from kms_service.telemetry.logs import get_logger

log = get_logger()


class Repeating:
    """Runs `work` every `seconds`, give or take a tenth, so that replicas do not all run at the same moment.

    Args:
        name: of the task, for logs.
        seconds: between two runs.
        work: what is run; an error is logged, and the next run comes all the same.
        once_more: whether `stop` runs it a last time.
    """

    def __init__(
        self,
        name: str,
        seconds: float,
        work: Callable[[], Awaitable[None] | None],
        *,
        once_more: bool = False,
    ) -> None:
        self._name = name
        self._seconds = seconds
        self._work = work
        self._once_more = once_more
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin on the running loop; the first run comes after the first interval."""
        self._task = asyncio.create_task(self._run(), name=self._name)

    async def stop(self) -> None:
        """Stop, cancelling a run under way; with `once_more`, run a last time if it was started."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.wait({self._task})
        self._task = None
        if self._once_more:
            await self._run_once()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._seconds * random.uniform(0.9, 1.1))  # noqa: S311 # jitter only
            await self._run_once()

    async def _run_once(self) -> None:
        try:
            waiting = self._work()
            if waiting is not None:
                await waiting
        except Exception:  # the task's boundary: it must live as long as the process
            log.exception("background_failed", work=self._name)
