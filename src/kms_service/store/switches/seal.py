"""The `seal_changes` table: inserted and read; the newest row tells whether the service is sealed."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, func, select

from kms_service.store.postgres.database import Database
from kms_service.store.postgres.tables import seal_changes


@dataclass(frozen=True, slots=True)
class SealChange:
    """One change of the seal: which way, why, by whom, and when by the database's clock (UTC)."""

    sealed: bool
    reason: str | None
    actor: str
    at: datetime


_COLUMNS = (seal_changes.c.sealed, seal_changes.c.reason, seal_changes.c.actor, seal_changes.c.at)


class SealStore:
    """Statements on `seal_changes`.

    Every method raises DatabaseUnavailable when PostgreSQL does not answer.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def seal(self, *, reason: str, actor: str) -> SealChange:
        """Insert a sealing, committed on return; unsealings are in `store.audit.rows`."""
        statement = select(func.record_sealing(reason, actor))
        async with self._database.connection() as connection:
            at = (await connection.execute(statement)).scalar_one()
        return SealChange(sealed=True, reason=reason, actor=actor, at=at)

    async def last(self) -> SealChange | None:
        """The newest change, or None."""
        statement = select(*_COLUMNS).order_by(seal_changes.c.id.desc()).limit(1)
        async with self._database.connection() as connection:
            row = (await connection.execute(statement)).one_or_none()
        return None if row is None else _change(row)


def _change(row: Row[*tuple[Any, ...]]) -> SealChange:
    return SealChange(row.sealed, row.reason, row.actor, row.at)
