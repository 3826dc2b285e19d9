"""Creates a stored wallet: encrypted under a fresh DEK, with its MAC, together with its audit row."""

from collections.abc import Iterable
from datetime import datetime

from kms_service.access.scopes import Caller
from kms_service.crypto import envelope
from kms_service.crypto.envelope import WalletSecret
from kms_service.ethereum import Account
from kms_service.kms.pool import KmsKeyPool
from kms_service.service.audit.log import AuditLog, Event
from kms_service.service.audit.requests import LISTED, listings
from kms_service.service.wallets.authenticity import AuthenticWallets
from kms_service.service.wallets.opening import encryption_context
from kms_service.store.wallets.creation import wallet_creation
from kms_service.store.wallets.find import EncryptedWallet, WalletRow


class WalletKeeper:
    """Stores wallets that were made here, imported or adopted; there is no other way to insert one."""

    def __init__(self, wallets: AuthenticWallets, pool: KmsKeyPool, audit: AuditLog) -> None:
        self.wallets = wallets
        """The wallets that are stored already."""
        self._pool = pool
        self._audit = audit

    async def list_requests(self, caller: Caller, run: str, request_ids: Iterable[str]) -> None:
        """Put on record the KMS requests of a run that opened wallets and released nothing.

        Args:
            caller: whose run it was.
            run: one word that names the run.
            request_ids: as KMS returned them.

        Raises:
            AuditUnavailable: not all of them are on record.
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
        """Store the wallet as the user's: one kms:Encrypt, one INSERT for the wallet and its audit row.

        Returns None, with nothing written, if the user has a wallet or another user has this one.

        Args:
            caller: who has it stored.
            action: the audit event's action, such as `wallet.create`.
            user_id: whose it becomes.
            account: the account of the key in `contents`.
            contents: what is encrypted; the caller owns the secrets.
            made_at: when the wallet was made, if it was made elsewhere; None for now.

        Raises:
            KmsError, NoUsableKey, IntegrityFailure, AuditUnavailable: nothing was written.
            DatabaseUnavailable: wallet and audit row are both there, or neither is; which is unknown.
        """
        # 1. The audit log can be written, before KMS is paid for a wallet that could not be recorded.
        await self._audit.check()
        # 2. The MAC, without which no address leaves (invariant 13).
        mac = await self.wallets.mac_of(user_id, account)
        # 3. A fresh DEK, in this frame alone, wrapped in the context of this address (invariant 1).
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
        # 4. Wallet and audit row are committed together: neither exists without the other (invariant 3).
        created_at = await self._audit.record_with(caller, event, wallet_creation(encrypted, made_at))
        if created_at is None:
            return None
        return WalletRow(
            user_id, account.address, public_key, wrapped.dek.key_arn, wrapped.dek.region, created_at
        )
