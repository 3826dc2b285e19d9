"""Waits until something happens, or for real time to pass. Nothing else in the tests sleeps."""

import asyncio
import time
from collections.abc import Callable, Iterator

_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.001, 0.02


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
    end = time.monotonic() + within
    seconds = _FIRST_PAUSE_SECONDS
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(report() if report is not None else None)
        yield seconds
        seconds = min(2 * seconds, _LONGEST_PAUSE_SECONDS)
