"""The range of times that the service accepts: PostgreSQL, psycopg and Python have different limits."""

from datetime import UTC, datetime

EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime(9000, 1, 1, tzinfo=UTC)


def require_storable(at: datetime) -> None:
    """Pass if a time is in the range, as the database's constraints demand; `at` must have an offset.

    Raises:
        ValueError: it is outside.
    """
    if not EARLIEST <= at < LATEST:
        raise ValueError("must be between the years 1970 and 9000")
