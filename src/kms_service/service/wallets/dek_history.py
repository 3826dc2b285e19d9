"""Puts back wrapped DEKs that were replaced by ones that do not open."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from enum import StrEnum

from kms_service.access.scopes import Caller
from kms_service.errors import IntegrityFailure, KmsKeyUnusable, WalletNotFound
from kms_service.service.audit.log import AuditLog, Event
from kms_service.service.wallets.opening import WalletOpener
from kms_service.store.wallets.dek_history import DekHistoryStore, ReplacedDek
from kms_service.store.wallets.find import EncryptedWallet, WalletStore

_PAGE_USERS = 500
_ATTEMPTS = 3


class Outcome(StrEnum):
    """What became of a wallet."""

    OPENS = "opens"
    PUT_BACK = "put back"
    LOST = "nothing opens it"
    CHANGED = "changed meanwhile"


@dataclass(frozen=True, slots=True)
class PutBack:
    """A wallet that was checked; `kms_key_id` is the ARN of the key that wraps its DEK now."""

    user_id: str
    outcome: Outcome
    kms_key_id: str


class DekRestorer:
    """Opens wallets as they are stored; where one does not open, tries its earlier wrapped DEKs.

    Every method raises DatabaseUnavailable when PostgreSQL does not answer, and KmsThrottled or
    KmsUnavailable when KMS does not: whether that wallet opens is unknown then, and it was not changed.
    """

    def __init__(
        self, history: DekHistoryStore, wallets: WalletStore, opener: WalletOpener, audit: AuditLog
    ) -> None:
        self._history = history
        self._wallets = wallets
        self._opener = opener
        self._audit = audit

    async def restore_all(self, caller: Caller) -> AsyncIterator[PutBack]:
        """`restore` every wallet whose DEK was ever replaced, in order of user id."""
        after = ""
        while users := await self._history.users(after=after, limit=_PAGE_USERS):
            for user_id in users:
                yield await self.restore(caller, user_id)
            after = users[-1]

    async def restore(self, caller: Caller, user_id: str) -> PutBack:
        """Put back the newest earlier DEK that opens this user's wallet, unless the wallet opens as it is.

        Raises:
            WalletNotFound: the user has none.
            AuditUnavailable: the change cannot be put on record, so nothing was changed.
        """
        for _ in range(_ATTEMPTS):
            wallet = await self._wallets.find_encrypted(user_id)
            if wallet is None:
                raise WalletNotFound
            current = wallet.dek
            if await self._opens(wallet):
                return PutBack(user_id, Outcome.OPENS, current.key_arn)
            replaced = await self._newest_that_opens(wallet)
            if replaced is None:
                return PutBack(user_id, Outcome.LOST, current.key_arn)
            detail = f"replaced by {replaced.replaced_by} at {replaced.replaced_at.isoformat()}"
            key_arn = replaced.dek.key_arn
            await self._audit.record(
                caller, Event("wallet.put-back", user_id=user_id, kms_key_id=key_arn, detail=detail)
            )
            if await self._history.put_back(replaced, current):
                return PutBack(user_id, Outcome.PUT_BACK, key_arn)
            # Somebody changed the wallet since it was read, perhaps by putting back the same DEK: look again.
        return PutBack(user_id, Outcome.CHANGED, current.key_arn)

    async def _newest_that_opens(self, wallet: EncryptedWallet) -> ReplacedDek | None:
        # Only a DEK that opens the wallet goes back, so that nobody can use this to overwrite a good one.
        for replaced in await self._history.list_for(wallet.user_id):
            if await self._opens(replace(wallet, dek=replaced.dek)):
                return replaced
        return None

    async def forget_all(self, caller: Caller) -> int:
        """Drop DEKs that were replaced over 30 days ago, of wallets that open as they are; returns how many.

        Raises:
            AuditUnavailable: they were dropped, and that is not on record.
        """
        after, forgotten = "", 0
        while users := await self._history.users(after=after, limit=_PAGE_USERS):
            for user_id in users:
                wallet = await self._wallets.find_encrypted(user_id)
                if wallet is not None and await self._opens(wallet):
                    forgotten += await self._history.forget(user_id)
            after = users[-1]
        await self._audit.record(caller, Event("wallet.forget-replaced", detail=f"forgotten={forgotten}"))
        return forgotten

    async def _opens(self, wallet: EncryptedWallet) -> bool:
        try:
            await self._opener.open(wallet)
        except (IntegrityFailure, KmsKeyUnusable):
            return False
        return True
