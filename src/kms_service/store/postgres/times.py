"""Which times the service takes: PostgreSQL, psycopg and Python end at different years."""

from datetime import UTC, datetime

EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime(9000, 1, 1, tzinfo=UTC)


def require_storable(at: datetime) -> None:
    """Pass for a time between the two, as the database's own constraints do; `at` has an offset.

    Raises:
        ValueError: it lies elsewhere.
    """
    if not EARLIEST <= at < LATEST:
        raise ValueError("must lie between the years 1970 and 9000")
