"""Opens one wallet of the ported service: unwraps its key, decrypts, derives, and compares with the row."""

import asyncio
from dataclasses import dataclass

from kms_service import ethereum
from kms_service.crypto.envelope import WalletSecret
from kms_service.crypto.material import DataKey
from kms_service.errors import IntegrityFailure
from kms_service.ethereum import Account
from kms_service.kms.foreign import ForeignKeys
from kms_service.service.adoption.encrypted_phrase import Layout, Unreadable, open_phrase
from kms_service.service.adoption.wrapped_dek import UnderEnvironmentKey, read_wrapped
from kms_service.store.adoption.source import SourceRow


@dataclass(frozen=True, slots=True)
class OpenedSource:
    """An opened wallet of the other service. The caller owns the secrets, and keeps them in its own frame."""

    account: Account
    contents: WalletSecret


class SourceOpener:
    """Opens rows of another service.

    Args:
        keys: its KMS keys.
        layout: the layout of its encrypted phrases.
        master_key: its environment key, for rows from before it used KMS; None if the operator gave none.
    """

    def __init__(self, keys: ForeignKeys, layout: Layout, master_key: DataKey | None) -> None:
        self._keys = keys
        self._layout = layout
        self._master_key = master_key
        self._requests: list[str] = []

    @property
    def keys_used(self) -> list[str]:
        """The ARNs of the other service's keys that unwrapped something, in order."""
        return sorted(self._keys.used)

    def take_requests(self) -> list[str]:
        """The KMS requests that unwrapped something since the last call of this."""
        taken, self._requests = self._requests, []
        return taken

    async def open(self, row: SourceRow) -> OpenedSource:
        """The wallet in a row, if all checks hold.

        Raises:
            Unreadable: the row has no known layout, does not open, or opens to another wallet.
            KmsThrottled, KmsKeyUnusable, KmsUnavailable: KMS did not serve the call.
        """
        # 1. The row's DEK, by the key that the row names; 2. the phrase, whose tag holds under it.
        dek = await self._dek(row)
        mnemonic = open_phrase(row.encrypted_seed, dek, self._layout)
        if (fault := ethereum.fault_of_phrase(mnemonic)) is not None:
            raise Unreadable(f"the phrase {fault}")
        # 3. The account that the phrase gives must be the row's: nothing else binds this seed to this user.
        #    In a thread, since PBKDF2 runs without the interpreter lock and other wallets go on meanwhile.
        account = await asyncio.to_thread(ethereum.derive_imported, mnemonic)
        _compare(account, row)
        return OpenedSource(account, WalletSecret(account.private_key, mnemonic))

    async def _dek(self, row: SourceRow) -> DataKey:
        wrapped = read_wrapped(row.encrypted_dek, row.kms_key_id)
        if isinstance(wrapped, UnderEnvironmentKey):
            if self._master_key is None:
                raise Unreadable("its data key is under MASTER_KEK: give that with --master-kek-file")
            return wrapped.open(self._master_key)
        try:
            unwrapped = await self._keys.decrypt(wrapped.key, wrapped.blob)
            self._requests += filter(None, [unwrapped.request_id])
            return unwrapped.dek  # noqa: TRY300 # what follows handles the failure of the call alone
        except IntegrityFailure as error:
            raise Unreadable(f"KMS does not unwrap its data key: {error.reason}") from error


def _compare(account: Account, row: SourceRow) -> None:
    # The case of letters is only a checksum, which not every service writes.
    if account.address.lower() != row.wallet_address.lower():
        raise Unreadable("it opens to another address than the row's")
    stored = row.compressed_public_key
    if stored is not None and account.compressed_public_key != stored.lower():
        raise Unreadable("it opens to another public key than the row's")
