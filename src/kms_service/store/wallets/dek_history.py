"""The `wallet_dek_history` table: wrapped DEKs as they were before a rotation replaced them.

A trigger writes it, whoever changes a wallet; nobody changes it, and no row goes within 30 days.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, func, select

from kms_service.crypto.material import WrappedDek
from kms_service.store.postgres.database import Database
from kms_service.store.postgres.tables import wallet_dek_history

KEPT_DAYS = 30
_MOST_TRIED = 20


@dataclass(frozen=True, slots=True)
class ReplacedDek:
    """A wrapped DEK that was replaced: by which login of the database, and when (UTC)."""

    history_id: int
    dek: WrappedDek
    replaced_by: str
    replaced_at: datetime


class DekHistoryStore:
    """Statements on `wallet_dek_history`.

    Every method raises DatabaseUnavailable when PostgreSQL does not answer.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def users(self, *, after: str, limit: int) -> Sequence[str]:
        """Users whose DEK was ever replaced, in order, those behind `after`."""
        columns = wallet_dek_history.c
        statement = select(columns.user_id).where(columns.user_id > after).distinct()
        async with self._database.connection() as connection:
            rows = await connection.execute(statement.order_by(columns.user_id).limit(limit))
            return [row.user_id for row in rows]

    async def of(self, user_id: str) -> Sequence[ReplacedDek]:
        """What this user's wrapped DEK was, the newest first; of very many the newest and the oldest ten."""
        columns = wallet_dek_history.c
        statement = select(
            columns.id,
            columns.kms_key_id,
            columns.kms_region,
            columns.encrypted_dek,
            columns.replaced_by,
            columns.replaced_at,
        ).where(columns.user_id == user_id)
        half = _MOST_TRIED // 2
        async with self._database.connection() as connection:
            newest = (await connection.execute(statement.order_by(columns.id.desc()).limit(half))).all()
            oldest = (await connection.execute(statement.order_by(columns.id).limit(half))).all()
        # Whoever replaces one a thousand times must not hide what it was before.
        by_id = {row.id: row for row in (*newest, *reversed(oldest))}
        return [
            ReplacedDek(
                row.id,
                WrappedDek(row.kms_key_id, row.kms_region, row.encrypted_dek),
                row.replaced_by,
                row.replaced_at,
            )
            for row in by_id.values()
        ]

    async def put_back(self, replaced: ReplacedDek, current: WrappedDek) -> bool:
        """Have the wallet take this one again; False when its DEK is not `current` any more."""
        statement = select(func.put_back_wrapped_dek(replaced.history_id, current.blob))
        async with self._database.connection() as connection:
            return bool((await connection.execute(statement)).scalar_one())

    async def forget(self, user_id: str) -> int:
        """Drop what is older than 30 days of a wallet that has just been opened; answers how many."""
        columns = wallet_dek_history.c
        old = func.clock_timestamp() - func.make_interval(0, 0, 0, KEPT_DAYS)
        statement = delete(wallet_dek_history).where(columns.user_id == user_id, columns.replaced_at < old)
        async with self._database.connection() as connection:
            return (await connection.execute(statement)).rowcount
