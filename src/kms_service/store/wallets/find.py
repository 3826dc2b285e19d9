"""The `wallets` table: at most one row per user."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, bindparam, select

from kms_service.crypto.material import RowMac, WrappedDek
from kms_service.store.postgres.database import Database
from kms_service.store.postgres.prepared import PreparedStatement
from kms_service.store.postgres.tables import wallets


@dataclass(frozen=True, slots=True)
class WalletRow:
    """What anybody with `wallets:read` may see of a wallet; `created_at` is UTC."""

    user_id: str
    wallet_address: str
    compressed_public_key: str
    kms_key_id: str
    kms_region: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class StoredWallet:
    """A wallet as the database has it: not to be trusted before its MAC is checked.

    `compressed_public_key` and `mac` are None in rows from before these columns.
    """

    user_id: str
    wallet_address: str
    compressed_public_key: str | None
    kms_key_id: str
    kms_region: str
    created_at: datetime
    mac: RowMac | None


@dataclass(frozen=True, slots=True)
class EncryptedWallet:
    """What opening a wallet needs: bytes that are useless without KMS, and the MAC of its row."""

    user_id: str
    wallet_address: str
    compressed_public_key: str | None
    encrypted_seed: bytes
    dek: WrappedDek
    mac: RowMac | None


_VIEW = (
    wallets.c.user_id,
    wallets.c.wallet_address,
    wallets.c.compressed_public_key,
    wallets.c.kms_key_id,
    wallets.c.kms_region,
    wallets.c.created_at,
    wallets.c.wallet_mac_key_id,
    wallets.c.wallet_mac,
)
_FIND = PreparedStatement(select(*_VIEW).where(wallets.c.user_id == bindparam("user_id")))
ENCRYPTED = (
    wallets.c.user_id,
    wallets.c.wallet_address,
    wallets.c.compressed_public_key,
    wallets.c.encrypted_seed,
    wallets.c.kms_key_id,
    wallets.c.kms_region,
    wallets.c.encrypted_dek,
    wallets.c.wallet_mac_key_id,
    wallets.c.wallet_mac,
)
"""The columns of which `read_encrypted` makes a wallet."""
_FIND_ENCRYPTED = PreparedStatement(select(*ENCRYPTED).where(wallets.c.user_id == bindparam("user_id")))

_OWNER = PreparedStatement(
    select(wallets.c.user_id).where(wallets.c.wallet_address == bindparam("wallet_address"))
)


class WalletStore:
    """Statements that read `wallets`; `creation` inserts rows, together with their audit row.

    Every method raises DatabaseUnavailable when PostgreSQL does not answer.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, user_id: str) -> StoredWallet | None:
        """The user's wallet, or None."""
        row = await self._database.row(_FIND, {"user_id": user_id})
        return None if row is None else _read_stored(row)

    async def find_encrypted(self, user_id: str) -> EncryptedWallet | None:
        """The user's wallet as stored, still encrypted, or None."""
        row = await self._database.row(_FIND_ENCRYPTED, {"user_id": user_id})
        return None if row is None else read_encrypted(row)

    async def find_all(self, user_ids: Sequence[str]) -> Sequence[StoredWallet]:
        """The wallets of those of these users who have one, in no order."""
        statement = select(*_VIEW).where(wallets.c.user_id.in_(user_ids))
        async with self._database.connection() as connection:
            return [_read_stored(row) for row in await connection.execute(statement)]

    async def owner_of(self, wallet_address: str) -> str | None:
        """The user whose row has this address, or None."""
        row = await self._database.row(_OWNER, {"wallet_address": wallet_address})
        return None if row is None else str(row.user_id)

    async def page(self, *, limit: int, after: str | None, kms_key_id: str | None) -> Sequence[StoredWallet]:
        """Up to `limit` wallets after user `after`, in order of user id; every page costs the same."""
        async with self._database.connection() as connection:
            return [_read_stored(row) for row in await connection.execute(_page(limit, after, kms_key_id))]


def read_encrypted(row: Any) -> EncryptedWallet:
    """The wallet in a row of the columns `ENCRYPTED`."""
    return EncryptedWallet(
        user_id=row.user_id,
        wallet_address=row.wallet_address,
        compressed_public_key=row.compressed_public_key,
        encrypted_seed=row.encrypted_seed,
        dek=WrappedDek(row.kms_key_id, row.kms_region, row.encrypted_dek),
        mac=RowMac.of_columns(row.wallet_mac_key_id, row.wallet_mac),
    )


def _read_stored(row: Any) -> StoredWallet:
    return StoredWallet(
        user_id=row.user_id,
        wallet_address=row.wallet_address,
        compressed_public_key=row.compressed_public_key,
        kms_key_id=row.kms_key_id,
        kms_region=row.kms_region,
        created_at=row.created_at,
        mac=RowMac.of_columns(row.wallet_mac_key_id, row.wallet_mac),
    )


def _page(limit: int, after: str | None, kms_key_id: str | None) -> Select[Any]:
    statement = select(*_VIEW).order_by(wallets.c.user_id).limit(limit)
    if after is not None:
        statement = statement.where(wallets.c.user_id > after)
    if kms_key_id is not None:
        statement = statement.where(wallets.c.kms_key_id == kms_key_id)
    return statement
