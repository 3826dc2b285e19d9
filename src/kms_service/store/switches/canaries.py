"""The `canary_wallets` table: users whose wallets nobody should ever open."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert

from kms_service.store.postgres.database import Database
from kms_service.store.postgres.tables import canary_wallets


@dataclass(frozen=True, slots=True)
class Canary:
    """A canary: whose wallet it is, who marked it, and when (UTC)."""

    user_id: str
    added_by: str
    added_at: datetime


_COLUMNS = (canary_wallets.c.user_id, canary_wallets.c.added_by, canary_wallets.c.added_at)


class CanaryStore:
    """Statements on `canary_wallets`.

    Every method raises DatabaseUnavailable when PostgreSQL does not answer.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, user_id: str, added_by: str) -> None:
        """Mark a user's wallet; one that is marked already stays as it is."""
        statement = insert(canary_wallets).values(user_id=user_id, added_by=added_by)
        async with self._database.connection() as connection:
            await connection.execute(statement.on_conflict_do_nothing())

    async def remove(self, user_id: str) -> bool:
        """Remove a mark; False if there was none."""
        statement = delete(canary_wallets).where(canary_wallets.c.user_id == user_id)
        async with self._database.connection() as connection:
            return (
                await connection.execute(statement.returning(canary_wallets.c.user_id))
            ).one_or_none() is not None

    async def count(self) -> int:
        """How many canaries there are."""
        async with self._database.connection() as connection:
            return (await connection.execute(select(func.count()).select_from(canary_wallets))).scalar_one()

    async def list_all(self) -> Sequence[Canary]:
        """All canaries by user id."""
        async with self._database.connection() as connection:
            rows = await connection.execute(select(*_COLUMNS).order_by(canary_wallets.c.user_id))
            return [Canary(row.user_id, row.added_by, row.added_at) for row in rows]
