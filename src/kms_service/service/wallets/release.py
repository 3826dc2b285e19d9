"""The only way out for anything made with a private key: opened, used, put on record, then handed out."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from kms_service.access.limits import limited_use
from kms_service.access.scopes import Caller
from kms_service.errors import WalletNotFound
from kms_service.ethereum import Account
from kms_service.service.audit.log import AuditLog, Event
from kms_service.service.policies.guard import Foreseen, PolicyGuard
from kms_service.service.policies.operations import Operation
from kms_service.service.wallets.authenticity import AuthenticWallets
from kms_service.service.wallets.guard import ReleaseGuard
from kms_service.service.wallets.opening import WalletOpener
from kms_service.telemetry import metrics

T = TypeVar("T")


def accept_any(_wallet_address: str) -> None:
    """Accept every wallet."""


@dataclass(frozen=True, slots=True)
class Use(Generic[T]):
    """What a caller wants to do with a wallet's key.

    Attributes:
        action: the audit event's action, such as `sign.message`.
        kind: the label of `secrets_released_total`, and the kind that the caller's limits count.
        perform: makes the answer from the opened account, and the audit row's detail (a digest, or None).
        operation: what the caller's policy judges.
        accepts: called with the wallet's address before KMS is asked; passes or raises InvalidRequest.
    """

    action: str
    kind: str
    perform: Callable[[Account], tuple[T, str | None]]
    operation: Operation
    accepts: Callable[[str], None] = accept_any


class Releases:
    """Opens a user's wallet for one use, and puts that on record before the result is returned."""

    def __init__(
        self,
        wallets: AuthenticWallets,
        opener: WalletOpener,
        audit: AuditLog,
        guard: ReleaseGuard,
        policies: PolicyGuard,
    ) -> None:
        self._wallets = wallets
        self._opener = opener
        self._audit = audit
        self._guard = guard
        self._policies = policies

    async def release(self, caller: Caller, user_id: str, use: Use[T]) -> T:
        """What `use` makes of the user's key: one kms:Decrypt, one audit row (invariant 3).

        Raises:
            Sealed: an operator stopped all releases, before this one or while KMS was answering.
            RateLimited: the caller's limit is used up.
            PolicyDenied: the caller's policy does not allow it; KMS was not asked.
            WalletNotFound: the user has no wallet.
            InvalidRequest: the use does not accept this wallet; KMS was not asked.
            IntegrityFailure: a MAC of row or policy does not hold, or the row opens to another address.
            KmsThrottled, KmsKeyUnusable, KmsUnavailable: KMS did not serve the call.
            AuditUnavailable, DatabaseUnavailable: the use is not on record, so nothing leaves.
        """
        # The order is the argument: each step relies on those before it.
        async with self._audit.refusals(caller, Event(use.action, user_id=user_id)):
            # 1. The caller may ask: it can go on record, nothing is sealed, the limit has room (invariant 14)
            await self._guard.admit(caller, limited_use(use.kind))
            # 2. The policy's rules, before the wallet is looked up: a refusal must not say who has one.
            judged = await self._policies.judge(caller, user_id, use.operation)
            # 3. The row, whose MAC holds: its address may be recorded and returned (invariant 13).
            wallet = await self._wallets.find_encrypted(user_id)
            if wallet is None:
                raise WalletNotFound
        event = Event(
            use.action,
            user_id=user_id,
            wallet_address=wallet.wallet_address,
            kms_key_id=wallet.dek.key_arn,
        )
        async with self._audit.refusals(caller, event):
            # 4. The use accepts this wallet. The policy's windows come last before KMS, so that a request
            #    refused for another reason uses up none of them.
            use.accepts(wallet.wallet_address)
            await self._policies.take(judged, use.operation)
            # 5. The key and its use, in this frame alone, with no database connection held (invariants 1, 2).
            opened = await self._opener.open(wallet)
            answer, detail = use.perform(opened.account)
        # The ARN names the Region that answered.
        event = replace(
            event, kms_key_id=opened.kms_key_id, kms_request_id=opened.kms_request_id, detail=detail
        )
        async with self._audit.refusals(caller, event):
            # 6. The seal once more: whoever sealed while KMS was answering meant to stop this release too.
            await self._guard.check_seal()
        # 7. The audit row is committed, or the answer stays here (invariant 3).
        await self._audit.record(caller, event)
        # 8. The alarm, if the wallet is a canary. Only then does anything leave.
        await self._guard.report_canary(caller, event)
        metrics.series(metrics.secrets_released, use.kind, metrics.caller_label(caller.name)).inc()
        return answer

    async def foresee(self, caller: Caller, user_id: str, use: Use[T]) -> Foreseen:
        """Whether `use` would be allowed now: nothing is signed, and no limit or window is used up.

        KMS is asked only for the keys of row MACs, and only if this process has not unwrapped them yet.

        Raises:
            Sealed: an operator stopped all releases.
            WalletNotFound: the user has no wallet, and the policy would have allowed the use.
            InvalidRequest: the use does not accept this wallet.
            IntegrityFailure, KmsThrottled, KmsKeyUnusable, KmsUnavailable: the MAC of the policy or of the
                wallet does not hold, or cannot be checked.
            DatabaseUnavailable: PostgreSQL did not answer.
        """
        await self._guard.check_seal()
        foreseen = await self._policies.foresee(caller, user_id, use.operation)
        if foreseen.allowed:
            wallet = await self._wallets.find_encrypted(user_id)
            if wallet is None:
                raise WalletNotFound
            use.accepts(wallet.wallet_address)
        return foreseen
