"""The `wallet_dek_history` table: every wrapped DEK that was replaced in `wallets`.

A trigger writes it, whoever changes a wallet. Its rows cannot be changed, nor deleted within 30 days.
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
    """A wrapped DEK that was replaced, by which database login, and when (UTC)."""

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
        """Up to `limit` users after user `after` whose DEK was ever replaced, in order of user id."""
        columns = wallet_dek_history.c
        statement = select(columns.user_id).where(columns.user_id > after).distinct()
        async with self._database.connection() as connection:
            rows = await connection.execute(statement.order_by(columns.user_id).limit(limit))
            return [row.user_id for row in rows]

    async def list_for(self, user_id: str) -> Sequence[ReplacedDek]:
        """This user's earlier wrapped DEKs, newest first; of more than 20, the ten newest and ten oldest."""
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
        # The oldest too: replacing a DEK a thousand times must not hide the one before.
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
        """Make this the wallet's DEK again; False if its DEK is no longer `current`: nothing was written."""
        statement = select(func.put_back_wrapped_dek(replaced.history_id, current.blob))
        async with self._database.connection() as connection:
            return bool((await connection.execute(statement)).scalar_one())

    async def forget(self, user_id: str) -> int:
        """Drop this user's DEKs that were replaced over 30 days ago; returns how many.

        The caller must have just opened the wallet with its present DEK.
        """
        columns = wallet_dek_history.c
        old = func.clock_timestamp() - func.make_interval(0, 0, 0, KEPT_DAYS)
        statement = delete(wallet_dek_history).where(columns.user_id == user_id, columns.replaced_at < old)
        async with self._database.connection() as connection:
            return (await connection.execute(statement)).rowcount
