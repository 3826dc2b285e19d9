"""Compares an operation with a rule: which criteria fail, and how much of the windows it uses."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kms_service.ethereum.abi import ARGUMENTS, CallMismatch
from kms_service.ethereum.transactions import Transaction
from kms_service.ethereum.typed_data import TypedData
from kms_service.ethereum.typed_types import Structs
from kms_service.service.policies.language import constraints, members
from kms_service.service.policies.language.calls import Call, FunctionCall, SelectorCall
from kms_service.service.policies.language.constraints import ANY, Anything, Constraint
from kms_service.service.policies.language.lists import CREATION, Wallets
from kms_service.service.policies.language.rules import (
    AuthorizationRule,
    Domain,
    KeyRule,
    MessageRule,
    Rule,
    TransactionRule,
    TypedDataRule,
)
from kms_service.service.policies.language.windows import CALL, COUNT
from kms_service.service.policies.operations import (
    AuthorizationSigning,
    KeyRelease,
    MessageSigning,
    Operation,
    TransactionSigning,
    TypedDataSigning,
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of comparing an operation with a rule.

    Attributes:
        failed: the criteria that do not hold, by name; empty if all do.
        unseen: how many more were not checked, since one that failed makes them meaningless.
        taken: how much of each measure the operation uses, for the rule's windows.
        asset: the chain and contract whose amounts are counted separately; empty without a transaction.
    """

    failed: tuple[str, ...]
    unseen: int
    taken: Mapping[str, int]
    asset: str

    @property
    def distance(self) -> int:
        """How many criteria failed or were not checked."""
        return len(self.failed) + self.unseen


_ONCE = {COUNT: 1}


def compare(rule: Rule, user_id: str, operation: Operation) -> Outcome | None:
    """Compare an operation with a rule; None if the rule is about another action."""
    if rule.action != operation.action:
        return None
    wallet = [] if _wallet(rule.wallets, user_id) else ["wallets"]
    match rule, operation:
        case MessageRule(), MessageSigning():
            return _count((*wallet, *_message(rule, operation.message)))
        case TypedDataRule(), TypedDataSigning():
            return _typed_data(rule, operation.typed, wallet)
        case AuthorizationRule(), AuthorizationSigning():
            return _count((*wallet, *_authorization(rule, operation)))
        case KeyRule(), KeyRelease():
            return _count(tuple(wallet))
        case TransactionRule(), TransactionSigning():
            return _transaction(rule, operation.transaction, wallet)
    raise AssertionError(f"{rule.action} has no comparison")


def _count(failed: tuple[str, ...], unseen: int = 0) -> Outcome:
    return Outcome(failed, unseen, _ONCE, "")


def _wallet(wallets: Anything | Wallets, user_id: str) -> bool:
    return isinstance(wallets, str) or wallets.include(user_id)


def _allows(allowed: Anything | frozenset[Any], value: Any) -> bool:
    # The only string is "any". A missing value is in no list.
    return isinstance(allowed, str) or value in allowed


def _failures(checks: Mapping[str, bool]) -> Iterable[str]:
    return (name for name, holds in checks.items() if not holds)


def _message(rule: MessageRule, message: bytes) -> Iterable[str]:
    begins = isinstance(rule.prefixes, str) or message.startswith(tuple(rule.prefixes))
    return _failures(
        {"prefixes": begins, "maxBytes": rule.max_bytes == ANY or len(message) <= rule.max_bytes}
    )


def _typed_data(rule: TypedDataRule, typed: TypedData, failed: list[str]) -> Outcome:
    primary = next(iter(typed.structs))
    failed = [*failed, *_domain(rule.domain, typed.domain)]
    if not _allows(rule.primary_types, primary):
        failed.append("primaryTypes")
    where = rule.where if isinstance(rule.where, dict) else {}
    if failed:
        # Members of other typed data than the rule is about mean nothing, and checking many takes time.
        return _count(tuple(failed), unseen=len(where))
    return _count(tuple(_where(where, typed.structs, primary, typed.message, "message.")))


def _domain(rule: Domain, domain: Mapping[str, Any]) -> Iterable[str]:
    return _failures(
        {
            "domain.name": _allows(rule.name, domain.get("name")),
            "domain.version": _allows(rule.version, domain.get("version")),
            "domain.chainId": _allows(rule.chain_id, domain.get("chainId")),
            "domain.verifyingContract": _allows(rule.verifying_contract, domain.get("verifyingContract")),
        }
    )


def _authorization(rule: AuthorizationRule, asked: AuthorizationSigning) -> Iterable[str]:
    return _failures(
        {
            "chainIds": _allows(rule.chain_ids, asked.chain_id),
            "delegates": _allows(rule.delegates, asked.delegate),
        }
    )


def _where(
    where: Mapping[str, Constraint], structs: Structs, root: str, value: Mapping[str, Any], prefix: str
) -> Iterable[str]:
    for path, constraint in where.items():
        found = members.values(structs, root, value, path)
        # A tuple among a call's arguments may be "any" as a whole. No other path may be missing.
        if found is None and root == ARGUMENTS and constraint == ANY:
            continue
        if found is None or not all(constraints.meets(constraint, found[0], item) for item in found[1]):
            yield prefix + path


def _transaction(rule: TransactionRule, asked: Transaction, failed: list[str]) -> Outcome:
    called = _call(rule.call, asked)
    checks = {
        "chainIds": _allows(rule.chain_ids, asked.chain_id),
        "to": _allows(rule.to, asked.recipient or CREATION),
        "value": constraints.meets(rule.value, "uint256", asked.value),
        "fee": constraints.meets(rule.fee, "uint256", asked.highest_fee),
    }
    native = {"value": asked.value, "fee": asked.highest_fee, "value+fee": asked.value + asked.highest_fee}
    return Outcome(
        failed=(*failed, *_failures(checks), *called.failed),
        unseen=called.unseen,
        taken={**_ONCE, **native, **called.taken},
        asset=f"{asked.chain_id}:{asked.recipient}",
    )


def _call(call: Call, asked: Transaction) -> Outcome:
    if call == "any" or (call == "none" and not asked.data):
        return Outcome((), 0, {}, "")
    if isinstance(call, str):
        return Outcome(("call",), 0, {}, "")
    outcomes = (
        _selector(item, asked) if isinstance(item, SelectorCall) else _function(item, asked) for item in call
    )
    return min(outcomes, key=lambda outcome: outcome.distance)


def _selector(call: SelectorCall, asked: Transaction) -> Outcome:
    length = len(asked.data)
    checks = {
        "call.selectors": call.selectors == ANY
        or (asked.recipient is not None and asked.data[:4] in call.selectors),
        "call.maxBytes": call.max_bytes == ANY or length <= call.max_bytes,
    }
    return Outcome(tuple(_failures(checks)), 0, {}, "")


def _function(call: FunctionCall, asked: Transaction) -> Outcome:
    structs = call.function.structs
    where = call.where if isinstance(call.where, dict) else {}
    try:
        # A contract creation calls no function, whatever its code begins with.
        arguments = call.function.arguments(asked.data if asked.recipient is not None else b"")
    except CallMismatch:
        return Outcome(("call.function",), len(where), {}, "")
    failed = tuple(_where(where, structs, ARGUMENTS, arguments, CALL))
    return Outcome(failed, 0, _amounts(structs, arguments), "")


def _amounts(structs: Structs, arguments: Mapping[str, Any]) -> dict[str, int]:
    """Every unsigned argument of a call, by path; for an array, the sum of its elements."""
    taken = {}
    for path, type_name in members.leaves(structs, ARGUMENTS):
        found = members.values(structs, ARGUMENTS, arguments, path)
        if found is not None and type_name.startswith("uint"):
            taken[CALL + path] = sum(found[1])
    return taken
