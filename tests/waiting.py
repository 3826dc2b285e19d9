"""Waits until something happens, or for real time to pass. Nothing else in the tests sleeps."""

import asyncio
import time
from collections.abc import Callable, Iterator

# Seconds. After a long wait it looks less often: a look takes processor time, perhaps from what it waits for.
_FIRST_PAUSE, _PAUSE, _LONGEST_PAUSE = 0.001, 0.02, 0.2
_SHARE = 20


def wait_until(
    condition: Callable[[], bool], within: float = 60, report: Callable[[], object] | None = None
) -> None:
    """Return once the condition holds, which another thread or process brings about.

    Args:
        condition: checked again and again.
        within: seconds.
        report: the error's message, if it does not come to hold.

    Raises:
        TimeoutError: it did not hold in time.
    """
    for seconds in _pauses(condition, within, report):
        time.sleep(seconds)


async def wait_until_async(
    condition: Callable[[], bool], within: float = 60, report: Callable[[], object] | None = None
) -> None:
    """Return once the condition holds, which another task may bring about; as `wait_until`."""
    for seconds in _pauses(condition, within, report):
        await asyncio.sleep(seconds)


def pause(seconds: float) -> None:
    """Let real time pass: for what must not happen meanwhile, or as a slow caller. Say why at the call."""
    time.sleep(seconds)


async def pause_async(seconds: float) -> None:
    """As `pause`, while the loop goes on."""
    await asyncio.sleep(seconds)


def _pauses(
    condition: Callable[[], bool], within: float, report: Callable[[], object] | None
) -> Iterator[float]:
    begin = time.monotonic()
    seconds = _FIRST_PAUSE
    while not condition():
        waited = time.monotonic() - begin
        if waited > within:
            raise TimeoutError(report() if report is not None else None)
        yield seconds
        seconds = min(2 * seconds, max(_PAUSE, waited / _SHARE), _LONGEST_PAUSE)
