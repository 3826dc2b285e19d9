"""A clock that a test moves instead of waiting."""

import time


class Clock:
    """A monotonic clock that can also jump ahead, for `build(settings, clock)`."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self._ahead

    def pass_by(self, seconds: float) -> None:
        """Let `seconds` pass at once."""
        self._ahead += seconds
