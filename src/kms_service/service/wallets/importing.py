"""Imports wallets that were made elsewhere: a phrase or a bare key, one wallet at a time.

A caller sends it encrypted to a one-time key of ours, whose private half is wrapped by KMS until it is used.
An operator types it into `kms-service wallet import`. It is never sent or stored unencrypted.
"""

import uuid
from dataclasses import dataclass
from datetime import datetime

from kms_service import ethereum
from kms_service.access.scopes import Caller
from kms_service.crypto import wallet_import
from kms_service.crypto.envelope import WalletSecret
from kms_service.crypto.material import Mnemonic, PrivateKey
from kms_service.crypto.wallet_import import UnopenedImport
from kms_service.errors import CallerError, IntegrityFailure, InvalidRequest, WalletExists
from kms_service.ethereum import Account
from kms_service.kms.aws import AwsKmsService
from kms_service.kms.pool import KmsKeyPool
from kms_service.service.audit.log import AuditLog, Event
from kms_service.service.wallets.authenticity import AuthenticWallets
from kms_service.service.wallets.creation import WalletKeeper
from kms_service.store.wallets.find import WalletRow
from kms_service.store.wallets.imports import ImportKeyRow, WalletImportStore

ACTION = "wallet.import"
KEY_ACTION = "wallet.import_key"


class AddressExists(CallerError):
    """Another user already has this wallet."""

    code = "address_exists"

    def __init__(self) -> None:
        super().__init__("Another user has this wallet.")


class ImportExpired(CallerError):
    """The import's key was used, has expired, or never existed."""

    code = "import_expired"

    def __init__(self) -> None:
        super().__init__("This import was used, or is too late: begin another with POST /wallet-imports.")


@dataclass(frozen=True, slots=True)
class ImportKey:
    """A key for one import: the public key to encrypt to (32 bytes), and when it expires (UTC)."""

    import_id: uuid.UUID
    recipient_public_key: bytes
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class EncryptedImport:
    """What a caller encrypted to the key of an import."""

    import_id: uuid.UUID
    encapsulated_key: bytes
    ciphertext: bytes


class WalletImporter:
    """Imports wallets. Every method raises DatabaseUnavailable when PostgreSQL does not answer."""

    def __init__(
        self,
        store: WalletImportStore,
        wallets: AuthenticWallets,
        keeper: WalletKeeper,
        kms: AwsKmsService,
        pool: KmsKeyPool,
        audit: AuditLog,
    ) -> None:
        self._store = store
        self._wallets = wallets
        self._keeper = keeper
        self._kms = kms
        self._pool = pool
        self._audit = audit

    async def begin(self, caller: Caller) -> ImportKey:
        """A key for one import within 15 minutes: one kms:Encrypt.

        Raises:
            NoUsableKey, KmsThrottled: KMS did not serve the call.
            AuditUnavailable: it could not be put on record, so nobody gets the key.
        """
        import_id = uuid.uuid4()
        event = Event(KEY_ACTION, detail=str(import_id))
        async with self._audit.refusals(caller, event):
            recipient = wallet_import.new_recipient()
            wrapped = await self._pool.wrap(recipient, _context(import_id))
            row = ImportKeyRow(import_id, wrapped.dek, caller.name)
            expires_at = await self._store.add(row)
        await self._audit.record(caller, event)
        return ImportKey(import_id, wallet_import.public_key_of(recipient), expires_at)

    async def complete(self, caller: Caller, user_id: str, encrypted: EncryptedImport) -> WalletRow:
        """Store the wallet that was encrypted as the user's: one kms:Decrypt and one kms:Encrypt.

        The attempt uses up the import's key, whether it succeeds or not.

        Raises:
            WalletExists: the user has a wallet; unless a race was lost, KMS was not asked and the key is
                not used up.
            ImportExpired: the key was used, has expired, or never existed.
            InvalidRequest: it does not open, or is neither a private key nor a phrase.
            AddressExists: another user has this wallet.
            IntegrityFailure: the import's key or the user's row is not as this service stored it.
            NoUsableKey, KmsThrottled, KmsKeyUnusable, KmsUnavailable: KMS did not serve a call.
            AuditUnavailable: nothing was written.
        """
        async with self._audit.refusals(caller, Event(ACTION, user_id=user_id)):
            # 1. A user with a wallet is refused before the key is used up.
            await self._refuse_second(user_id)
            # 2. The key is claimed before it is unwrapped, so that it serves one attempt only.
            wrapped = await self._store.claim(encrypted.import_id)
            if wrapped is None:
                raise ImportExpired
            # 3. KMS unwraps it only in the context of this import.
            recipient = (await self._kms.decrypt(wrapped, _context(encrypted.import_id))).dek
            try:
                # 4. What was encrypted to it opens only for this user.
                opened = wallet_import.open_import(
                    recipient,
                    encapsulated_key=encrypted.encapsulated_key,
                    ciphertext=encrypted.ciphertext,
                    user_id=user_id,
                )
            except UnopenedImport as error:
                raise InvalidRequest(str(error), "ciphertext") from None
            return await self._take(caller, user_id, opened, "ciphertext")

    async def take(
        self, caller: Caller, user_id: str, secret: PrivateKey | Mnemonic, *, field: str
    ) -> WalletRow:
        """Store the wallet of a phrase or key that an operator typed as the user's: one kms:Encrypt.

        Args:
            caller: who imports it.
            user_id: whose it becomes.
            secret: the phrase or key; the caller owns it.
            field: the name that InvalidRequest gives it.

        Raises:
            As `complete`, except ImportExpired.
        """
        async with self._audit.refusals(caller, Event(ACTION, user_id=user_id)):
            await self._refuse_second(user_id)
            return await self._take(caller, user_id, secret, field)

    async def _refuse_second(self, user_id: str) -> None:
        existing = await self._wallets.find(user_id)
        if existing is not None:
            raise WalletExists(existing.wallet_address)

    async def _take(
        self, caller: Caller, user_id: str, secret: PrivateKey | Mnemonic, field: str
    ) -> WalletRow:
        account = _account(secret, field)
        phrase = secret if isinstance(secret, Mnemonic) else None
        contents = WalletSecret(account.private_key, phrase)
        made = await self._keeper.keep(caller, ACTION, user_id, account, contents, made_at=None)
        if made is not None:
            return made
        await self._refuse_second(user_id)
        raise AddressExists


def _context(import_id: uuid.UUID) -> dict[str, str]:
    return {"purpose": "wallet-import", "import_id": str(import_id)}


def _account(secret: PrivateKey | Mnemonic, field: str) -> Account:
    if isinstance(secret, Mnemonic):
        if (fault := ethereum.fault_of_phrase(secret)) is not None:
            raise InvalidRequest(f"contains a phrase that {fault}", field)
        return ethereum.derive_imported(secret)
    try:
        return ethereum.account_of(secret)
    except IntegrityFailure:
        raise InvalidRequest("contains a private key out of range", field) from None
