"""The one road on which anything made with a private key leaves: opened, used, on record, then handed out."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from kms_service.access.limits import limited_as
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


def anyone(_wallet_address: str) -> None:
    """Accepts every wallet."""


@dataclass(frozen=True, slots=True)
class Use(Generic[T]):
    """What a caller wants with a wallet's key.

    Attributes:
        action: the audit event's action, such as `sign.message`.
        kind: the label of `secrets_released_total`, and what it counts as where the caller is limited.
        perform: makes the answer from the opened account, and the audit row's detail: a digest, or nothing.
        operation: what the caller's policy judges.
        accepts: given the wallet's address, passes or raises InvalidRequest, before KMS is asked.
    """

    action: str
    kind: str
    perform: Callable[[Account], tuple[T, str | None]]
    operation: Operation
    accepts: Callable[[str], None] = anyone


class Releases:
    """Opens a user's wallet for one use, which is on record before its result is returned."""

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
            Sealed: an operator stopped all releases, before this one or while KMS was at it.
            RateLimited: the caller's limit is used up.
            PolicyDenied: the caller's policy does not allow it; KMS was not asked.
            WalletNotFound: the user has no wallet.
            InvalidRequest: the use does not accept this wallet; KMS was not asked.
            IntegrityFailure: the row has not its MAC, or does not open to its own address.
            KmsThrottled, KmsKeyUnusable, KmsUnavailable: KMS did not serve the call.
            AuditUnavailable: the use could not be recorded, so nothing leaves.
        """
        # The order is the argument: what each step relies on has been shown by those before it.
        async with self._audit.refusals(caller, Event(use.action, user_id=user_id)):
            # 1. Who asks may: it can go on record, nothing is sealed, the limit has room (invariant 14).
            await self._guard.admit(caller, limited_as(use.kind))
            # 2. The policy's rules, before the wallet is looked for: a refusal tells nothing of who has one.
            judged = await self._policies.judge(caller, user_id, use.operation)
            # 3. The row, whose MAC holds: its address may be told and put on record (invariant 13).
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
            # 4. The use accepts this wallet; then the policy's windows, last of all before KMS, so that what
            #    is refused for another reason takes nothing of them.
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
            # 6. The seal once more: who sealed while KMS answered means this release too.
            await self._guard.check_seal()
        # 7. The row is committed, or the answer stays here (invariant 3).
        await self._audit.record(caller, event)
        # 8. Only now does anything leave, told to whoever watches for canaries.
        await self._guard.report_canary(caller, event)
        metrics.series(metrics.secrets_released, use.kind, metrics.caller_label(caller.name)).inc()
        return answer

    async def foresee(self, caller: Caller, user_id: str, use: Use[T]) -> Foreseen:
        """What would become of `use` now: no KMS call, no signature, nothing taken of any limit or window.

        Raises:
            Sealed: an operator stopped all releases.
            WalletNotFound: the user has no wallet, and the policy would not refuse before that.
            InvalidRequest: the use does not accept this wallet.
            IntegrityFailure, KmsThrottled, KmsKeyUnusable, KmsUnavailable: the policy cannot be checked.
        """
        await self._guard.check_seal()
        foreseen = await self._policies.foresee(caller, user_id, use.operation)
        if foreseen.allowed:
            wallet = await self._wallets.find_encrypted(user_id)
            if wallet is None:
                raise WalletNotFound
            use.accepts(wallet.wallet_address)
        return foreseen
