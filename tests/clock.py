"""A clock that a test moves, in place of waiting."""

import time


class Clock:
    """Seconds that pass by themselves, and at once when told to: for `build(settings, clock)`."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self._ahead

    def pass_by(self, seconds: float) -> None:
        """Let so many seconds go by now."""
        self._ahead += seconds
