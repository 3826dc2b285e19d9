"""Judges one operation by one policy: which rules match, or which one came nearest and why it fails."""

from dataclasses import dataclass, replace

from kms_service.service.policies.criteria import Outcome, compare
from kms_service.service.policies.language.document import Document
from kms_service.service.policies.language.rules import Rule
from kms_service.service.policies.language.windows import needs
from kms_service.service.policies.operations import AuthorizationSigning, Operation, TransactionSigning
from kms_service.store.policies.windows import Need

DELEGATIONS = "authorizationList"


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy in force: its name, the version, and the document of that version."""

    name: str
    version: int
    document: Document


@dataclass(frozen=True, slots=True)
class Match:
    """A rule whose criteria all hold, and what the operation needs of its windows."""

    rule: str
    needs: tuple[Need, ...]


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a policy's rules say about an operation, without the windows.

    Attributes:
        matches: the rules whose criteria all hold, in the document's order; the first with room allows it.
        nearest: if none matches, the rule with the fewest failed criteria; None if no rule is for the action.
        reason: if none matches, which criteria of the nearest rule fail; it holds no words of the caller's.
    """

    matches: tuple[Match, ...]
    nearest: str | None
    reason: str


def judge(policy: Policy, user_id: str, token: str, operation: Operation) -> Judgement:
    """Judge an operation with the key of `user_id`, asked for by the token named `token`."""
    compared = [
        (rule, outcome)
        for rule in policy.document.rules
        if (outcome := _compare(policy, rule, user_id, operation)) is not None
    ]
    subjects = {"wallet": user_id, "token": token}
    matches = tuple(
        Match(rule.id, needs(rule.windows, policy.name, rule.id, subjects, outcome.taken, outcome.asset))
        for rule, outcome in compared
        if not outcome.failed
    )
    if matches or not compared:
        return Judgement(matches, None, "" if matches else f"no rule is for {operation.action}")
    rule, outcome = min(compared, key=lambda pair: pair[1].distance)
    return Judgement((), rule.id, f"not met: {', '.join(outcome.failed)}")


def _compare(policy: Policy, rule: Rule, user_id: str, operation: Operation) -> Outcome | None:
    outcome = compare(rule, user_id, operation)
    if outcome is None or not isinstance(operation, TransactionSigning):
        return outcome
    # A set-code transaction carries delegations, so the policy must allow each of them too.
    carried = (AuthorizationSigning(*each) for each in operation.transaction.delegations)
    if all(_is_allowed(policy, user_id, each) for each in carried):
        return outcome
    return replace(outcome, failed=(*outcome.failed, DELEGATIONS))


def _is_allowed(policy: Policy, user_id: str, asked: AuthorizationSigning) -> bool:
    outcomes = (compare(rule, user_id, asked) for rule in policy.document.rules)
    return any(outcome is not None and not outcome.failed for outcome in outcomes)
