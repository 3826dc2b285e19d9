"""Waiting for what another thread or process is about to do."""

import time
from collections.abc import Callable


def wait_until(condition: Callable[[], bool], within: float = 60) -> None:
    """Return once the condition holds.

    Raises:
        TimeoutError: it did not in time.
    """
    end = time.monotonic() + within
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.02)
