"""The schema's version: which one the code needs, and which one the database has.

A serving process checks it at the start and at every probe, so this needs no Alembic
(`store.postgres.migrations` does).
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
    """Pass if the database is at this code's schema, or at a newer one.

    Raises:
        SchemaBehind: a migration is missing; the message names the command.
        DatabaseUnavailable: PostgreSQL does not answer.
    """
    current = await _current(database)
    *older, head = revisions()
    # A revision that this code does not know is from newer code; migrations keep the schema usable for older.
    if current is None or current in older:
        raise SchemaBehind(
            f"the database is at revision {current or 'none'}, this code needs {head}; "
            "run: kms-service migrate"
        )


@cache
def revisions() -> tuple[str, ...]:
    """The migrations of this code, oldest first, by file name; the name begins with a time."""
    return tuple(sorted(script.stem for script in (MIGRATIONS / "versions").glob("*.py")))


async def _current(database: Database) -> str | None:
    async with database.connection() as connection:
        if await connection.scalar(text("SELECT to_regclass('alembic_version')")) is None:
            return None
        current: str | None = await connection.scalar(text("SELECT version_num FROM alembic_version"))
    return current
