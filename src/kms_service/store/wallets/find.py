"""The `wallets` table: one row a user, whole or not at all."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, bindparam, select

from kms_service.crypto.material import WrappedDek
from kms_service.store.postgres.database import Database
from kms_service.store.postgres.prepared import PreparedStatement
from kms_service.store.postgres.tables import wallets


@dataclass(frozen=True, slots=True)
class WalletRow:
    """What anybody with `wallets:read` may see of a wallet; `created_at` is UTC."""

    user_id: str
    wallet_address: str
    kms_key_id: str
    kms_region: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class SealedWallet:
    """What opening a wallet needs: bytes that are useless without KMS."""

    user_id: str
    wallet_address: str
    encrypted_seed: bytes
    dek: WrappedDek


_VIEW = (
    wallets.c.user_id,
    wallets.c.wallet_address,
    wallets.c.kms_key_id,
    wallets.c.kms_region,
    wallets.c.created_at,
)
_FIND = PreparedStatement(select(*_VIEW).where(wallets.c.user_id == bindparam("user_id")))
_FIND_SEALED = PreparedStatement(
    select(
        wallets.c.user_id,
        wallets.c.wallet_address,
        wallets.c.encrypted_seed,
        wallets.c.kms_key_id,
        wallets.c.kms_region,
        wallets.c.encrypted_dek,
    ).where(wallets.c.user_id == bindparam("user_id"))
)


class WalletStore:
    """Statements on `wallets`. Rows are inserted together with their audit row, in `store.audit.rows`.

    Every method raises DatabaseUnavailable when PostgreSQL does not answer.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, user_id: str) -> WalletRow | None:
        """The user's wallet, or None."""
        row = await self._database.row(_FIND, {"user_id": user_id})
        return None if row is None else WalletRow(*row)

    async def find_sealed(self, user_id: str) -> SealedWallet | None:
        """The user's wallet as it lies at rest, or None."""
        row = await self._database.row(_FIND_SEALED, {"user_id": user_id})
        if row is None:
            return None
        found, address, seed, *wrapped = row
        return SealedWallet(found, address, seed, WrappedDek(*wrapped))

    async def page(self, *, limit: int, after: str | None, kms_key_id: str | None) -> Sequence[WalletRow]:
        """Up to `limit` wallets in order of `user_id`, those behind `after`; any page costs the same."""
        async with self._database.connection() as connection:
            return [WalletRow(*row) for row in await connection.execute(_page(limit, after, kms_key_id))]


def _page(limit: int, after: str | None, kms_key_id: str | None) -> Select[Any]:
    statement = select(*_VIEW).order_by(wallets.c.user_id).limit(limit)
    if after is not None:
        statement = statement.where(wallets.c.user_id > after)
    if kms_key_id is not None:
        statement = statement.where(wallets.c.kms_key_id == kms_key_id)
    return statement
