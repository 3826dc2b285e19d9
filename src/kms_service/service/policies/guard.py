"""What a token with a policy must pass before every release: the policy's rules, then its windows."""

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
    """A policy's judgement of one operation: some rule matches; its windows are still to be checked."""

    policy: Policy
    judgement: Judgement


@dataclass(frozen=True, slots=True)
class Foreseen:
    """Whether an operation would be allowed.

    Attributes:
        policy, version: those of the caller's policy; None if the caller has none.
        rule: the rule that would allow it, or else came nearest; None if there is none.
        reason: why it would be refused; None if it would be allowed.
    """

    allowed: bool
    policy: str | None
    version: int | None
    rule: str | None
    reason: str | None


class PolicyGuard:
    """Asked twice before KMS is: first for the rules, and at the last moment for the windows."""

    def __init__(self, policies: PoliciesInForce, windows: PolicyWindowStore) -> None:
        self._policies = policies
        self._windows = windows

    async def judge(self, caller: Caller, user_id: str, operation: Operation) -> Judged | None:
        """Pass if the caller has no policy (returns None) or some rule matches; uses up no window.

        Raises:
            PolicyDenied: no rule matches.
            PolicyIntegrityFailure: the policy is missing, or not as an operator wrote it.
            DatabaseUnavailable: the policy cannot be read.
            KmsThrottled, KmsUnavailable, KmsKeyUnusable, NoUsableKey, IntegrityFailure: its MAC cannot be
                checked.
        """
        if caller.policy is None:
            return None
        policy = await self._policies.newest(caller.policy)
        judgement = judge(policy, user_id, caller.name, operation)
        if not judgement.matches:
            raise _deny(policy, judgement.nearest, judgement.reason, operation)
        return Judged(policy, judgement)

    async def take(self, judged: Judged | None, operation: Operation) -> None:
        """Count the operation in the windows of the first matching rule with room; exact over all replicas.

        Raises:
            PolicyDenied: no matching rule's windows have room; nothing was counted.
            DatabaseUnavailable: what was counted is unknown, so nothing may be released.
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
        raise _deny(judged.policy, full[0], _describe_full(full[1]), operation)

    async def foresee(self, caller: Caller, user_id: str, operation: Operation) -> Foreseen:
        """Whether the operation would be allowed now; uses up no window.

        Raises:
            What `judge` raises, except PolicyDenied.
        """
        if caller.policy is None:
            return Foreseen(True, None, None, None, None)
        policy = await self._policies.newest(caller.policy)
        judgement = judge(policy, user_id, caller.name, operation)
        full: tuple[str, Need] | None = None
        for match in judgement.matches:
            lacking = await self._windows.find_full(match.needs)
            if lacking is None:
                return Foreseen(True, policy.name, policy.version, match.rule, None)
            full = full or (match.rule, lacking)
        rule, reason = (
            (judgement.nearest, judgement.reason) if full is None else (full[0], _describe_full(full[1]))
        )
        return Foreseen(False, policy.name, policy.version, rule, reason)


def _describe_full(need: Need) -> str:
    return f"no room: {need.window}"


def _deny(policy: Policy, rule: str | None, reason: str, operation: Operation) -> PolicyDenied:
    metrics.policy_denied.labels(policy.name, rule or "none", operation.action).inc()
    return PolicyDenied(policy.name, policy.version, rule, reason)
