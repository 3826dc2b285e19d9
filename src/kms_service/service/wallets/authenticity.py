"""Stored wallets whose MAC holds, and no others: the database alone cannot say whose an address is.

Every use case that gives out an address reads wallets here, not from the store (invariant 13).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from kms_service.crypto.row_mac import RowLabel, RowMac, RowMacKeyring, wallet_fields
from kms_service.errors import IntegrityFailure
from kms_service.ethereum import Account
from kms_service.service.row_macs import RowMacs
from kms_service.store.wallets.find import EncryptedWallet, StoredWallet, WalletRow, WalletStore
from kms_service.telemetry import metrics
from kms_service.telemetry.logs import get_logger

log = get_logger()


@dataclass(frozen=True, slots=True)
class RefusedWallet:
    """A stored wallet whose MAC does not hold: only the user id in its row is passed on."""

    user_id: str


class AuthenticWallets:
    """Reads wallets and checks their MACs; makes the MACs of new ones.

    Every method raises DatabaseUnavailable when PostgreSQL does not answer. Every method but `owner_of` also
    raises what `RowMacs.keyring` does, until this process has unwrapped the keys of row MACs.
    """

    def __init__(self, store: WalletStore, macs: RowMacs) -> None:
        self._store = store
        self._macs = macs

    async def mac_of(self, user_id: str, account: Account) -> RowMac:
        """The MAC that binds this account to the user."""
        fields = wallet_fields(user_id, account.address, account.compressed_public_key)
        return (await self._macs.keyring()).make(RowLabel.WALLET, fields)

    async def find(self, user_id: str) -> WalletRow | None:
        """The user's wallet, or None.

        Raises:
            IntegrityFailure: the row was not written by this service, or was changed since.
        """
        stored = await self._store.find(user_id)
        return None if stored is None else _check(await self._macs.keyring(), stored)

    async def find_encrypted(self, user_id: str) -> EncryptedWallet | None:
        """The user's wallet as stored, still encrypted, or None.

        Raises:
            IntegrityFailure: the row was not written by this service, or was changed since.
        """
        encrypted = await self._store.find_encrypted(user_id)
        if encrypted is not None:
            check(await self._macs.keyring(), encrypted)
        return encrypted

    async def addresses(self, user_ids: Sequence[str]) -> dict[str, str | None]:
        """The addresses of those of these users who have a wallet; None where the row's MAC does not hold."""
        ring = await self._macs.keyring()
        found = [_sort(ring, stored) for stored in await self._store.find_all(user_ids)]
        return {row.user_id: row.wallet_address if isinstance(row, WalletRow) else None for row in found}

    async def owner_of(self, wallet_address: str) -> str | None:
        """The user whose row has this address, or None. The row's MAC is not checked."""
        return await self._store.owner_of(wallet_address)

    async def page(
        self, *, limit: int, after: str | None, kms_key_id: str | None
    ) -> list[WalletRow | RefusedWallet]:
        """Up to `limit` wallets after user `after`, in order of user id; every page costs the same."""
        ring = await self._macs.keyring()
        rows = await self._store.page(limit=limit, after=after, kms_key_id=kms_key_id)
        return [_sort(ring, stored) for stored in rows]


def check(ring: RowMacKeyring, wallet: StoredWallet | EncryptedWallet) -> None:
    """Pass if the wallet's MAC holds; count and log a failure.

    Raises:
        IntegrityFailure: the row has no MAC, or not its own.
    """
    fields = wallet_fields(wallet.user_id, wallet.wallet_address, wallet.compressed_public_key or "")
    try:
        ring.verify(RowLabel.WALLET, fields, wallet.mac)
    except IntegrityFailure as error:
        metrics.integrity_failures.inc()
        log.error("integrity_failure", userId=wallet.user_id, reason=error.reason)
        raise


def _sort(ring: RowMacKeyring, stored: StoredWallet) -> WalletRow | RefusedWallet:
    try:
        return _check(ring, stored)
    except IntegrityFailure:
        return RefusedWallet(stored.user_id)


def _check(ring: RowMacKeyring, stored: StoredWallet) -> WalletRow:
    check(ring, stored)
    return WalletRow(
        stored.user_id,
        stored.wallet_address,
        stored.compressed_public_key or "",
        stored.kms_key_id,
        stored.kms_region,
        stored.created_at,
    )
