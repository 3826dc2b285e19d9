"""The schema's version: what the code needs and what the database has.

Serving asks this of every start and probe, so it needs no Alembic: that is `store.postgres.migrations`.
"""

from functools import cache
from pathlib import Path

from sqlalchemy import text

from kms_service.errors import SchemaBehind
from kms_service.store.postgres.database import Database

_INSTALLED = Path(__file__).parents[2] / "migrations"
_CHECKOUT = Path(__file__).parents[4] / "migrations"
MIGRATIONS = _INSTALLED if _INSTALLED.is_dir() else _CHECKOUT


async def check(database: Database) -> None:
    """Pass when the database is at this code's schema or past it.

    Raises:
        SchemaBehind: a migration is missing; the message names the command.
        DatabaseUnavailable: PostgreSQL does not answer.
    """
    current = await _current(database)
    *older, head = revisions()
    # A revision that this code does not know comes from a newer one, and migrations stay usable for the old.
    if current is None or current in older:
        raise SchemaBehind(
            f"the database is at revision {current or 'none'}, this code needs {head}; "
            "run: kms-service migrate"
        )


@cache
def revisions() -> tuple[str, ...]:
    """The migrations of this code, oldest first; each is named as its file, which begins with its time."""
    return tuple(sorted(script.stem for script in (MIGRATIONS / "versions").glob("*.py")))


async def _current(database: Database) -> str | None:
    async with database.connection() as connection:
        if await connection.scalar(text("SELECT to_regclass('alembic_version')")) is None:
            return None
        current: str | None = await connection.scalar(text("SELECT version_num FROM alembic_version"))
    return current
