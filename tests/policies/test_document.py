"""Documents: what is a valid policy and what is not; leaving something out never permits more."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from kms_service.service.policies.language.document import MAX_BYTES, InvalidPolicy, json_schema, parse
from policies.requests import MERCHANT, SHIPPED, USDC

RULES: dict[str, Any] = {
    "pay": {
        "id": "pay",
        "action": "sign.transaction",
        "wallets": {"prefixes": ["shop-"]},
        "chainIds": [1, "137"],
        "to": [MERCHANT, "creation"],
        "value": {"max": "0.5 ether"},
        "fee": {"max": "0.01 ether"},
        "call": "none",
        "windows": [
            {"per": "day", "of": "wallet", "sum": "value", "max": "1 ether"},
            {"per": "hour", "of": "token", "count": 100},
        ],
    },
    "call": {
        "id": "call",
        "action": "sign.transaction",
        "wallets": "any",
        "chainIds": [1],
        "to": [USDC],
        "value": {"max": "0"},
        "fee": {"max": "0.01 ether"},
        "call": {
            "function": "transfer(address to, uint256 amount)",
            "where": {"to": [MERCHANT], "amount": {"max": "100000000"}},
        },
        "windows": [{"per": "day", "of": "wallet", "sum": "call.amount", "max": "500000000"}],
    },
    "typed": {
        "id": "typed",
        "action": "sign.typed-data",
        "wallets": "any",
        "domain": {"name": ["Shop"], "chainId": [1], "verifyingContract": "any"},
        "primaryTypes": ["Order"],
        "where": {"price": {"max": "1000"}},
    },
    "message": {
        "id": "message",
        "action": "sign.message",
        "wallets": {"userIds": ["anna"]},
        "prefixes": ["Sign in to shop"],
        "maxBytes": 500,
    },
    "delegate": {
        "id": "delegate",
        "action": "sign.authorization",
        "wallets": "any",
        "chainIds": [1],
        "delegates": [MERCHANT],
    },
    "key": {"id": "key", "action": "private_key.read", "wallets": "any"},
}


def text(*rules: Any, **members: Any) -> bytes:
    return json.dumps({"rules": rules, **members}).encode()


def problems(*rules: Any, **members: Any) -> str:
    with pytest.raises(InvalidPolicy) as refused:
        parse(text(*rules, **members))
    return "\n".join(refused.value.problems)


def change_rule(name: str, change: Callable[[Any], Any]) -> Any:
    rule = copy.deepcopy(RULES[name])
    change(rule)
    return rule


def test_every_rule_of_the_language_is_read() -> None:
    assert [rule.id for rule in parse(text(*RULES.values())).rules] == list(RULES)


def test_a_policy_without_rules_is_valid() -> None:
    assert parse(b'{"rules": []}').rules == ()


CRITERIA = [
    (name, member) for name, rule in RULES.items() for member in rule if member not in {"windows", "action"}
]


@pytest.mark.parametrize(("name", "member"), CRITERIA)
def test_a_criterion_that_is_left_out_is_an_error(name: str, member: str) -> None:
    assert problems(change_rule(name, lambda rule: rule.pop(member))) == (
        f'rules.0.{member}: is missing; to restrict nothing it says "any"'
    )


@pytest.mark.parametrize("member", ["name", "chainId", "verifyingContract"])
def test_a_domain_says_its_name_its_chain_and_its_contract(member: str) -> None:
    told = problems(change_rule("typed", lambda rule: rule["domain"].pop(member)))
    assert told.startswith(f"rules.0.domain.{member}: is missing")


@pytest.mark.parametrize("member", ["to", "amount"])
def test_every_parameter_of_a_function_is_named(member: str) -> None:
    told = problems(change_rule("call", lambda rule: rule["call"]["where"].pop(member)))
    assert f"where does not name {member}" in told


@pytest.mark.parametrize("name", RULES)
def test_an_unknown_member_is_an_error(name: str) -> None:
    told = problems(change_rule(name, lambda rule: rule.update(note="mine")))
    assert told == "rules.0.note: is not a member that a policy knows here"


@pytest.mark.parametrize(("name", "member"), CRITERIA)
@pytest.mark.parametrize("value", [None, [], {}, "", True, [None], [[]], {"max": 1}, "ANY !"])
def test_an_impossible_criterion_is_an_error(name: str, member: str, value: Any) -> None:
    told = problems(change_rule(name, lambda rule: rule.update({member: value})))
    assert all(line.startswith("rules.0") and member in line for line in told.splitlines())


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("pay", lambda rule: rule.update(action="sign"), "does not match any of the expected tags"),
        ("pay", lambda rule: rule.update(to=["0x11"]), "rules.0.to: must be 0x and 40 hex digits"),
        ("pay", lambda rule: rule.update(to=[USDC[:-2] + "aa"]), "right EIP-55 checksum"),
        ("pay", lambda rule: rule.update(to=[MERCHANT, MERCHANT]), "has a value twice"),
        ("pay", lambda rule: rule.update(to=["any"]), "must be 0x and 40 hex digits"),
        ("pay", lambda rule: rule.update(chainIds=[-1]), "is out of range"),
        ("pay", lambda rule: rule.update(value={"max": "1.0000000000000000001 ether"}), "must be an amount"),
        ("pay", lambda rule: rule.update(value={"max": "1.5"}), "more decimals than its unit"),
        ("pay", lambda rule: rule.update(value={"max": 1}), "must be an amount"),
        ("pay", lambda rule: rule.update(value={"max": "1 eth"}), "must be an amount"),
        ("pay", lambda rule: rule.update(value={"max": "1", "min": "2"}), "a min above its max"),
        ("pay", lambda rule: rule.update(value={"maximum": "1"}), 'must have "min", "max" or both'),
        ("pay", lambda rule: rule.update(value=["a"]), "a value that is no uint256"),
        ("pay", lambda rule: rule.update(call=[]), "must not be empty"),
        ("pay", lambda rule: rule.update(call="some"), "rules.0.call"),
        ("pay", lambda rule: rule.update(wallets={"userIds": ["a"], "prefixes": ["b"]}), "rules.0.wallets"),
        ("pay", lambda rule: rule.update(wallets={"prefixes": [""]}), "must not be empty"),
        ("pay", lambda rule: rule.update(id="a b"), "rules.0.id"),
        ("pay", lambda rule: rule["windows"][0].update(count=1), "either sum and max, or count"),
        ("pay", lambda rule: rule["windows"][0].pop("max"), "either sum and max, or count"),
        ("pay", lambda rule: rule["windows"][0].update(max="-1"), "must not be negative"),
        ("pay", lambda rule: rule["windows"][0].update(per="week"), "windows.0.per"),
        ("pay", lambda rule: rule["windows"][0].update(sum="call.amount"), "no unsigned call.amount"),
        ("pay", lambda rule: rule["windows"][1].update(count=0), "windows.1.count"),
        ("pay", lambda rule: rule["windows"][1].update(count="5"), "windows.1.count"),
        ("pay", lambda rule: rule["windows"].append(rule["windows"][0]), "two windows of the same"),
        ("call", lambda rule: rule["call"].update(function="transfer(address,uint256)"), "a type and a name"),
        ("call", lambda rule: rule["call"]["where"].update(to={"max": "1"}), "address has no min and max"),
        ("call", lambda rule: rule["call"]["where"].update(to=["x"]), "a value that is no address"),
        ("call", lambda rule: rule["call"]["where"].update(fee="any"), "fee is no parameter"),
        ("call", lambda rule: rule["windows"][0].update(sum="call.to"), "no unsigned call.to"),
        ("call", lambda rule: rule["windows"][0].update(sum="gas"), "windows.0.sum"),
        ("typed", lambda rule: rule.update(domain="any"), "rules.0.domain"),
        ("typed", lambda rule: rule["domain"].update(salt="any"), "domain.salt"),
        ("typed", lambda rule: rule.update(where={"price": 5}), "where: price must be a list"),
        ("message", lambda rule: rule.update(maxBytes=-1), "rules.0.maxBytes"),
        (
            "message",
            lambda rule: rule.update(windows=[{"per": "day", "of": "token", "sum": "value", "max": "1"}]),
            "here it can count",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_mistake_is_reported_with_its_place(name: str, change: Any, told: str) -> None:
    assert told in problems(change_rule(name, change))


def test_every_problem_is_reported_at_once() -> None:
    told = problems(change_rule("pay", lambda rule: rule.update(to=[], fee=[], note=1)))
    assert {line.split(":")[0] for line in told.splitlines()} == {"rules.0.to", "rules.0.fee", "rules.0.note"}


def test_the_id_of_a_rule_is_unique() -> None:
    assert "two rules of one id" in problems(RULES["pay"], RULES["pay"])


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"rules": [], "rules": []}',
        b'{"rules": [], "version": 1}',
        b'{"rules": NaN}',
        b'{"rules": [1e3]}',
        b"\xff",
        b"[" * 100_000,
        b" " * (MAX_BYTES + 1),
    ],
)
def test_an_ambiguous_document_is_refused(document: bytes) -> None:
    with pytest.raises(InvalidPolicy):
        parse(document)


def test_the_published_schema_describes_the_language() -> None:
    published = json.loads((SHIPPED / "policy.schema.json").read_text())
    assert published == json_schema(), "run python scripts/policy_schema.py"
