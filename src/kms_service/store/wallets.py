"""The `wallets` table: one row a user, whole or not at all."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Select, bindparam, select

from kms_service.material import WrappedDek
from kms_service.store.database import Database
from kms_service.store.tables import wallets


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
_FIND = select(*_VIEW).where(wallets.c.user_id == bindparam("user_id"))
_FIND_SEALED = select(
    wallets.c.user_id,
    wallets.c.wallet_address,
    wallets.c.encrypted_seed,
    wallets.c.encrypted_dek,
    wallets.c.kms_key_id,
    wallets.c.kms_region,
).where(wallets.c.user_id == bindparam("user_id"))


class WalletStore:
    """Statements on `wallets`. Rows are inserted together with their audit row, in `store.audit`.

    Every method raises DatabaseUnavailable when PostgreSQL does not answer.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, user_id: str) -> WalletRow | None:
        """The user's wallet, or None."""
        with self._database.connection() as connection:
            row = connection.execute(_FIND, {"user_id": user_id}).one_or_none()
        return None if row is None else _view(row)

    def find_sealed(self, user_id: str) -> SealedWallet | None:
        """The user's wallet as it lies at rest, or None."""
        with self._database.connection() as connection:
            row = connection.execute(_FIND_SEALED, {"user_id": user_id}).one_or_none()
        if row is None:
            return None
        wrapped = WrappedDek(row.kms_key_id, row.kms_region, row.encrypted_dek)
        return SealedWallet(row.user_id, row.wallet_address, row.encrypted_seed, wrapped)

    def page(self, *, limit: int, after: str | None, kms_key_id: str | None) -> Sequence[WalletRow]:
        """Up to `limit` wallets in order of `user_id`, those behind `after`; any page costs the same."""
        with self._database.connection() as connection:
            return [_view(row) for row in connection.execute(_page(limit, after, kms_key_id))]


def _page(limit: int, after: str | None, kms_key_id: str | None) -> Select[Any]:
    statement = select(*_VIEW).order_by(wallets.c.user_id).limit(limit)
    if after is not None:
        statement = statement.where(wallets.c.user_id > after)
    if kms_key_id is not None:
        statement = statement.where(wallets.c.kms_key_id == kms_key_id)
    return statement


def _view(row: Row[*tuple[Any, ...]]) -> WalletRow:
    return WalletRow(row.user_id, row.wallet_address, row.kms_key_id, row.kms_region, row.created_at)
