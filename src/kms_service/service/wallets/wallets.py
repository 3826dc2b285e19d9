"""Creates, finds and lists wallets, and releases the private key of one."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from kms_service import ethereum
from kms_service.access.scopes import Caller
from kms_service.crypto.envelope import WalletSecret
from kms_service.crypto.export import EncryptedKey, ExportEncryption, UnusableRecipientKey
from kms_service.crypto.material import PrivateKey
from kms_service.errors import InvalidRequest, KmsServiceError, WalletExists, WalletNotFound
from kms_service.ethereum import Account
from kms_service.service.audit.log import AuditLog, Event
from kms_service.service.bounded import map_bounded
from kms_service.service.policies.operations import KeyRelease
from kms_service.service.wallets.authenticity import AuthenticWallets, RefusedWallet
from kms_service.service.wallets.creation import WalletKeeper
from kms_service.service.wallets.release import Releases, Use
from kms_service.store.wallets.find import WalletRow

BATCH_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Ensured:
    """A user's wallet, and whether this call made it."""

    wallet: WalletRow
    created: bool


@dataclass(frozen=True, slots=True)
class ReleasedKey:
    """A private key whose release is on record, and its user and address. The caller owns the secret."""

    user_id: str
    wallet_address: str
    private_key: PrivateKey


@dataclass(frozen=True, slots=True)
class EncryptedExport:
    """A private key that only its recipient can decrypt, and the address it belongs to."""

    wallet_address: str
    encrypted: EncryptedKey


@dataclass(frozen=True, slots=True)
class Page:
    """Wallets in order of user id; pass `next_after` to get the next page; None when there are no more.

    `refused` names the users on this page whose row's MAC does not hold; they have no entry in `wallets`.
    """

    wallets: Sequence[WalletRow]
    refused: Sequence[str]
    next_after: str | None


class WalletsKmsService:
    """Creates, finds and opens wallets.

    Every method raises DatabaseUnavailable when PostgreSQL does not answer, the KMS errors of the calls it
    makes (nothing is half done then), and IntegrityFailure for a row whose MAC does not hold.
    """

    def __init__(
        self, wallets: AuthenticWallets, keeper: WalletKeeper, releases: Releases, audit: AuditLog
    ) -> None:
        self._wallets = wallets
        self._keeper = keeper
        self._releases = releases
        self._audit = audit

    async def create_wallet(self, caller: Caller, user_id: str) -> WalletRow:
        """Create the user's wallet: fresh mnemonic, fresh DEK, one kms:Encrypt, one INSERT.

        Raises:
            WalletExists: the user has one; no KMS call was made, unless a concurrent create was faster.
            What `ensure_wallet` raises.
        """
        ensured = await self.ensure_wallet(caller, user_id)
        if not ensured.created:
            raise WalletExists(ensured.wallet.wallet_address)
        return ensured.wallet

    async def ensure_wallet(self, caller: Caller, user_id: str) -> Ensured:
        """The user's wallet, created now if there was none; concurrent calls all get the same one.

        Raises:
            NoUsableKey: no key of the pool would wrap the DEK.
            AuditUnavailable: no audit row can be written, so no wallet was created.
        """
        existing = await self._wallets.find(user_id)
        if existing is not None:
            return Ensured(existing, created=False)
        async with self._audit.refusals(caller, Event("wallet.create", user_id=user_id)):
            made = await self._create(caller, user_id)
        if made is not None:
            return Ensured(made, created=True)
        return Ensured(await self.get_wallet(user_id), created=False)

    async def ensure_wallets(
        self, caller: Caller, user_ids: Sequence[str]
    ) -> list[Ensured | KmsServiceError]:
        """`ensure_wallet` for each user, a few at a time; each one's wallet or error, in the order given."""
        different = list(dict.fromkeys(user_ids))
        outcomes = await map_bounded(partial(self._outcome, caller), different, BATCH_AT_ONCE)
        return _order_by_request(user_ids, dict(zip(different, outcomes, strict=True)))

    async def get_wallet(self, user_id: str) -> WalletRow:
        """The user's wallet, without its secrets.

        Raises:
            WalletNotFound: the user has none.
        """
        wallet = await self._wallets.find(user_id)
        if wallet is None:
            raise WalletNotFound
        return wallet

    async def list_wallets(self, *, limit: int, after: str | None, kms_key_id: str | None) -> Page:
        """One page: up to `limit` wallets after user `after`; only those under `kms_key_id`, if given."""
        rows = await self._wallets.page(limit=limit + 1, after=after, kms_key_id=kms_key_id)
        page, more = rows[:limit], len(rows) > limit
        return Page(
            [row for row in page if isinstance(row, WalletRow)],
            [row.user_id for row in page if isinstance(row, RefusedWallet)],
            page[-1].user_id if more else None,
        )

    async def get_private_key_for_user(self, caller: Caller, user_id: str) -> ReleasedKey:
        """The user's private key, once its release is on record (invariant 3). The caller owns the secret.

        Raises:
            What `Releases.release` raises.
        """

        def perform(account: Account) -> tuple[ReleasedKey, None]:
            return ReleasedKey(user_id, account.address, account.private_key), None

        use = Use("private_key.read", "private_key", perform, KeyRelease("private_key.read"))
        return await self._releases.release(caller, user_id, use)

    async def export_private_key(
        self, caller: Caller, user_id: str, recipient_public_key: bytes
    ) -> EncryptedExport:
        """The user's private key, encrypted to an X25519 key, once its release is on record (invariant 3).

        Raises:
            InvalidRequest: nothing can be encrypted to this recipient key; KMS was not asked.
            What `Releases.release` raises.
        """
        try:
            encryption = ExportEncryption(recipient_public_key)
        except UnusableRecipientKey as error:
            raise InvalidRequest(str(error), "recipientPublicKey") from error

        def perform(account: Account) -> tuple[EncryptedExport, None]:
            return EncryptedExport(
                account.address, encryption.encrypt(account.private_key, account.address)
            ), None

        use = Use("private_key.export", "export", perform, KeyRelease("private_key.export"))
        return await self._releases.release(caller, user_id, use)

    async def _outcome(self, caller: Caller, user_id: str) -> Ensured | KmsServiceError:
        try:
            return await self.ensure_wallet(caller, user_id)
        except KmsServiceError as error:
            return error

    async def _create(self, caller: Caller, user_id: str) -> WalletRow | None:
        mnemonic = ethereum.generate_mnemonic()
        account = ethereum.derive(mnemonic)
        return await self._keeper.keep(
            caller,
            "wallet.create",
            user_id,
            account,
            WalletSecret(account.private_key, mnemonic),
            made_at=None,
        )


def _order_by_request(
    user_ids: Sequence[str], outcomes: dict[str, Ensured | KmsServiceError]
) -> list[Ensured | KmsServiceError]:
    seen: set[str] = set()
    ordered = []
    for user_id in user_ids:
        outcome = outcomes[user_id]
        if user_id in seen and isinstance(outcome, Ensured):
            outcome = replace(outcome, created=False)
        seen.add(user_id)
        ordered.append(outcome)
    return ordered
