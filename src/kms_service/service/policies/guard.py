"""What stands before every release of a token with a policy: its rules, then its windows."""

from dataclasses import dataclass

from kms_service.access.scopes import Caller
from kms_service.errors import PolicyDenied
from kms_service.service.policies.in_force import PoliciesInForce
from kms_service.service.policies.judging import Judgement, Policy, judge
from kms_service.service.policies.operations import Operation
from kms_service.store.policies.windows import Need, PolicyWindowStore
from kms_service.telemetry import metrics


@dataclass(frozen=True, slots=True)
class Judged:
    """A policy's word on one operation: some rule's criteria all hold; its windows are still to be asked."""

    policy: Policy
    judgement: Judgement


@dataclass(frozen=True, slots=True)
class Foreseen:
    """What would become of an operation.

    Attributes:
        policy, version: of the caller's policy; None without one.
        rule: the rule that would allow it, or that came nearest; None when there is none.
        reason: why not; None when it would be allowed.
    """

    allowed: bool
    policy: str | None
    version: int | None
    rule: str | None
    reason: str | None


class PolicyGuard:
    """Asked twice before KMS is: by the rules alone, and at the last moment by the windows too."""

    def __init__(self, policies: PoliciesInForce, windows: PolicyWindowStore) -> None:
        self._policies = policies
        self._windows = windows

    async def judge(self, caller: Caller, user_id: str, operation: Operation) -> Judged | None:
        """Pass when the caller has no policy (None) or some rule's criteria all hold; takes nothing.

        Raises:
            PolicyDenied: no rule's criteria all hold.
            PolicyIntegrityFailure: the policy is missing, or not as an operator wrote it.
            DatabaseUnavailable: it cannot be read.
            KmsThrottled, KmsUnavailable, KmsKeyUnusable: its MAC cannot be checked.
        """
        if caller.policy is None:
            return None
        policy = await self._policies.newest(caller.policy)
        judgement = judge(policy, user_id, caller.name, operation)
        if not judgement.matches:
            raise _deny(policy, judgement.nearest, judgement.reason, operation)
        return Judged(policy, judgement)

    async def take(self, judged: Judged | None, operation: Operation) -> None:
        """Take the operation of the windows of the first rule that has room; exact over all replicas.

        Raises:
            PolicyDenied: no matching rule's windows have room; nothing was taken.
            DatabaseUnavailable: what was taken is unknown, so nothing may be released.
        """
        if judged is None:
            return
        full: tuple[str, Need] | None = None
        for match in judged.judgement.matches:
            lacking = await self._windows.take(match.needs)
            if lacking is None:
                return
            full = full or (match.rule, lacking)
        assert full is not None  # noqa: S101 # there is a match, see `judge`
        raise _deny(judged.policy, full[0], _no_room(full[1]), operation)

    async def foresee(self, caller: Caller, user_id: str, operation: Operation) -> Foreseen:
        """What would become of the operation now; takes nothing and counts nothing.

        Raises:
            PolicyIntegrityFailure, DatabaseUnavailable, KmsThrottled, KmsUnavailable, KmsKeyUnusable: as
                `judge`.
        """
        if caller.policy is None:
            return Foreseen(True, None, None, None, None)
        policy = await self._policies.newest(caller.policy)
        judgement = judge(policy, user_id, caller.name, operation)
        full: tuple[str, Need] | None = None
        for match in judgement.matches:
            lacking = await self._windows.without_room(match.needs)
            if lacking is None:
                return Foreseen(True, policy.name, policy.version, match.rule, None)
            full = full or (match.rule, lacking)
        rule, reason = (judgement.nearest, judgement.reason) if full is None else (full[0], _no_room(full[1]))
        return Foreseen(False, policy.name, policy.version, rule, reason)


def _no_room(need: Need) -> str:
    return f"no room: {need.window}"


def _deny(policy: Policy, rule: str | None, reason: str, operation: Operation) -> PolicyDenied:
    metrics.policy_denied.labels(policy.name, rule or "none", operation.action).inc()
    return PolicyDenied(policy.name, policy.version, rule, reason)
