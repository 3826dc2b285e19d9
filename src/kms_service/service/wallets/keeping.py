"""Keeping a wallet: encrypted under a fresh DEK, given its MAC, and stored together with its audit row."""

from collections.abc import Iterable
from datetime import datetime

from kms_service.access.scopes import Caller
from kms_service.crypto import envelope
from kms_service.crypto.envelope import WalletSecret
from kms_service.ethereum import Account
from kms_service.kms.keys.pool import KmsKeyPool
from kms_service.service.audit.log import AuditLog, Event
from kms_service.service.audit.requests import LISTED, listings
from kms_service.service.wallets.authenticity import AuthenticWallets
from kms_service.service.wallets.opening import encryption_context
from kms_service.store.wallets.creation import wallet_creation
from kms_service.store.wallets.find import EncryptedWallet, WalletRow


class WalletKeeper:
    """Stores wallets that were made here, imported, or adopted: the one road on which a row comes about."""

    def __init__(self, wallets: AuthenticWallets, pool: KmsKeyPool, audit: AuditLog) -> None:
        self.wallets = wallets
        """Those that are kept already."""
        self._pool = pool
        self._audit = audit

    async def list_requests(self, caller: Caller, run: str, request_ids: Iterable[str]) -> None:
        """Put on record the KMS requests of a run that opened wallets and released nothing.

        Args:
            caller: whose run it was.
            run: one word for what the run was.
            request_ids: as KMS answered them.

        Raises:
            AuditUnavailable: they are not on record.
        """
        for detail in listings(run, request_ids):
            await self._audit.record(caller, Event(LISTED, detail=detail))

    async def keep(
        self,
        caller: Caller,
        action: str,
        user_id: str,
        account: Account,
        contents: WalletSecret,
        *,
        made_at: datetime | None,
    ) -> WalletRow | None:
        """The wallet, now the user's: one kms:Encrypt, one INSERT for the wallet and its audit row.

        Args:
            caller: who has it made.
            action: the audit event's, such as `wallet.create`.
            user_id: whose it becomes.
            account: the account of the key in `contents`.
            contents: what is encrypted; a secret of the caller's frame.
            made_at: when it was made, if that was elsewhere; None for now.

        Returns:
            None when the user has a wallet already, or another user has this one; nothing was written then.

        Raises:
            NoUsableKey, KmsThrottled, KmsUnavailable: KMS did not serve the call; nothing was written.
            DatabaseUnavailable: whether wallet and audit row are there, or neither, is unknown.
            AuditUnavailable: nothing was written.
        """
        await self._audit.check()
        mac = await self.wallets.mac_of(user_id, account)
        dek = envelope.new_data_key()
        wrapped = await self._pool.wrap(dek, encryption_context(account.address))
        seed = envelope.encrypt(contents, dek, user_id=user_id, wallet_address=account.address)
        event = Event(
            action,
            user_id=user_id,
            wallet_address=account.address,
            kms_key_id=wrapped.dek.key_arn,
            kms_request_id=wrapped.request_id,
        )
        public_key = account.compressed_public_key
        encrypted = EncryptedWallet(user_id, account.address, public_key, seed, wrapped.dek, mac)
        created_at = await self._audit.record_with(caller, event, wallet_creation(encrypted, made_at))
        if created_at is None:
            return None
        return WalletRow(
            user_id, account.address, public_key, wrapped.dek.key_arn, wrapped.dek.region, created_at
        )
