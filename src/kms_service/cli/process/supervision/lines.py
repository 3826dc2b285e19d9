"""Log lines in the service's own format, without its libraries."""

import json
import logging
import sys
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class Lines:
    """Writes log lines to standard output.

    Attributes:
        as_json: as JSON; otherwise as text.
        level: the minimum to write, as a number of `logging`.
    """

    as_json: bool
    level: int

    def info(self, event: str, **fields: object) -> None:
        """Log what goes as it should."""
        self._write(logging.INFO, event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """Log what does not."""
        self._write(logging.WARNING, event, fields)

    def _write(self, level: int, event: str, fields: dict[str, object]) -> None:
        if level < self.level:
            return
        name = logging.getLevelName(level).lower()
        timestamp = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        if self.as_json:
            line = json.dumps({**fields, "event": event, "level": name, "timestamp": timestamp})
        else:
            told = " ".join(f"{key}={value}" for key, value in fields.items())
            line = f"{timestamp} [{name:<9}] {event:<24} {told}".rstrip()
        # At once and whole: the workers write to the same stream.
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
