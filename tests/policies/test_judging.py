"""What a policy allows, refuses and names as nearest, criterion by criterion."""

import copy
from dataclasses import replace
from typing import Any

import eth_abi
import pytest

from kms_service.api.wallets.transaction import TransactionBody
from kms_service.ethereum import transactions
from kms_service.ethereum.abi import parse_function
from kms_service.ethereum.authorizations import Authorization, SignedAuthorization
from kms_service.service.policies.judging import judge
from kms_service.service.policies.operations import TransactionSigning
from policies.requests import (
    ETHER,
    GWEI,
    MERCHANT,
    STRANGER,
    USDC,
    is_allowed,
    judge_request,
    operation_of,
    policy,
    transaction,
)
from policies.test_document import RULES

TRANSFER = parse_function("transfer(address to, uint256 amount)")
APPROVE = parse_function("approve(address spender, uint256 amount)")


def call(function: Any, *arguments: Any, **fields: Any) -> dict[str, Any]:
    data = function.selector + eth_abi.encode(function.types, arguments)
    return transaction(**{"to": USDC, "value": 0, "data": "0x" + data.hex(), "gas": 60000, **fields})


ORDER: dict[str, Any] = {
    "domain": {"name": "Shop", "version": "1", "chainId": 1, "verifyingContract": STRANGER},
    "types": {
        "Order": [
            {"name": "price", "type": "uint256"},
            {"name": "lines", "type": "Line[]"},
            {"name": "seller", "type": "address"},
        ],
        "Line": [{"name": "sku", "type": "string"}, {"name": "count", "type": "uint8"}],
    },
    "primaryType": "Order",
    "message": {
        "price": "1000",
        "lines": [{"sku": "a", "count": 1}, {"sku": "b", "count": 2}],
        "seller": MERCHANT,
    },
}


def order(**changes: Any) -> dict[str, Any]:
    """The order with members at dotted paths changed."""
    changed = copy.deepcopy(ORDER)
    for path, value in changes.items():
        *above, last = path.split("__")
        target: Any = changed
        for step in above:
            target = target[int(step) if step.isdigit() else step]
        target[last] = value
    return changed


def rule(name: str, **changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(RULES[name]), **changes}


@pytest.mark.parametrize(
    ("fields", "failed"),
    [
        ({}, None),
        ({"chainId": 137}, None),
        ({"to": None, "data": "0x60"}, "call"),
        ({"chainId": 10}, "chainIds"),
        ({"to": STRANGER}, "to"),
        ({"value": ETHER // 2}, None),
        ({"value": ETHER // 2 + 1}, "value"),
        ({"maxFeePerGas": 10**16 // 21000 + 1}, "fee"),
        ({"maxFeePerGas": 10**16 // 21000}, None),
        ({"maxFeePerGas": None, "maxPriorityFeePerGas": None, "gasPrice": 10**16 // 21000 + 1}, "fee"),
        ({"gas": 10**16 // (20 * GWEI) + 1}, "fee"),
        ({"data": "0x00"}, "call"),
    ],
)
def test_a_payment_meets_every_criterion_or_is_refused(fields: Any, failed: str | None) -> None:
    judgement = judge_request(policy(RULES["pay"]), "sign.transaction", transaction(**fields))
    assert judgement.reason == ("" if failed is None else f"not met: {failed}")
    assert judgement.nearest == (None if failed is None else "pay")


@pytest.mark.parametrize(
    ("body", "failed"),
    [
        (call(TRANSFER, MERCHANT, 100_000_000), None),
        (call(TRANSFER, MERCHANT, 100_000_001), "call.amount"),
        (call(TRANSFER, STRANGER, 1), "call.to"),
        (call(APPROVE, MERCHANT, 1), "call.function"),
        (call(TRANSFER, MERCHANT, 1, to=STRANGER), "to"),
        (call(TRANSFER, MERCHANT, 1, value=1), "value"),
        (transaction(to=USDC, value=0, gas=60000), "call.function"),
        (call(TRANSFER, MERCHANT, 1, to=None), "to, call.function"),
    ],
)
def test_a_call_is_judged_by_its_decoded_arguments(body: Any, failed: str | None) -> None:
    judgement = judge_request(policy(RULES["call"]), "sign.transaction", body)
    assert judgement.reason == ("" if failed is None else f"not met: {failed}")


def test_one_of_several_functions_is_enough() -> None:
    several = [
        RULES["call"]["call"],
        {
            "function": "approve(address spender, uint256 amount)",
            "where": {"spender": [MERCHANT], "amount": ["0", "7"]},
        },
    ]
    by = policy(rule("call", call=several))
    assert is_allowed(by, "sign.transaction", call(TRANSFER, MERCHANT, 1))
    assert is_allowed(by, "sign.transaction", call(APPROVE, MERCHANT, 7))
    assert not is_allowed(by, "sign.transaction", call(APPROVE, MERCHANT, 8))


def test_selector_and_length_are_criteria_too() -> None:
    by = policy(
        rule("call", call={"selectors": ["0xa9059cbb"], "maxBytes": 68}, windows=[], to="any"),
    )
    assert is_allowed(by, "sign.transaction", call(TRANSFER, STRANGER, 1))
    longer = call(TRANSFER, STRANGER, 1)
    longer["transaction"]["data"] += "00"
    assert judge_request(by, "sign.transaction", longer).reason == "not met: call.maxBytes"
    assert (
        judge_request(by, "sign.transaction", call(APPROVE, STRANGER, 1)).reason == "not met: call.selectors"
    )
    assert not is_allowed(by, "sign.transaction", call(TRANSFER, STRANGER, 1, to=None))


def test_an_unconstrained_tuple_may_be_anything() -> None:
    function = parse_function("f((address a, uint256 b) t, uint256 c)")
    criteria = {"function": "f((address a, uint256 b) t, uint256 c)", "where": {"t": "any", "c": ["1"]}}
    by = policy(rule("call", call=criteria, windows=[]))
    assert is_allowed(by, "sign.transaction", call(function, (STRANGER, 1), 1))
    assert not is_allowed(by, "sign.transaction", call(function, (STRANGER, 1), 2))


def test_every_element_of_an_argument_must_meet_its_constraint() -> None:
    function = parse_function("pay((address to, uint256 amount)[] payments)")
    criteria = {
        "function": "pay((address to, uint256 amount)[] payments)",
        "where": {"payments.to": [MERCHANT], "payments.amount": {"max": "10"}},
    }
    windows = [{"per": "day", "of": "token", "sum": "call.payments.amount", "max": "15"}]
    by = policy(rule("call", call=criteria, windows=windows))
    two = judge_request(by, "sign.transaction", call(function, [(MERCHANT, 10), (MERCHANT, 4)]))
    assert two.matches[0].needs[0].amount == 14
    assert not is_allowed(by, "sign.transaction", call(function, [(MERCHANT, 10), (STRANGER, 4)]))
    assert not is_allowed(by, "sign.transaction", call(function, [(MERCHANT, 11)]))


@pytest.mark.parametrize(
    ("changes", "failed"),
    [
        ({}, None),
        ({"domain": {"chainId": "0x1", "name": "Shop"}}, None),
        ({"domain__name": "Shop "}, "domain.name"),
        ({"domain__chainId": 5}, "domain.chainId"),
        ({"domain": {"name": "Shop"}}, "domain.chainId"),
        ({"message__price": 1001}, "message.price"),
        ({"types__Order__0__type": "uint128"}, None),
        ({"types__Order__0__type": "string", "message__price": "1"}, "message.price"),
        ({"types__Order__0__name": "cost", "message": {**ORDER["message"], "cost": 1}}, "message.price"),
    ],
)
def test_typed_data_is_judged_by_domain_type_and_members(changes: Any, failed: str | None) -> None:
    body = order(**changes)
    if "cost" in body["message"]:
        del body["message"]["price"]
    judgement = judge_request(policy(RULES["typed"]), "sign.typed-data", body)
    assert judgement.reason == ("" if failed is None else f"not met: {failed}")


def test_another_primary_type_is_refused() -> None:
    body = order()
    body.update(primaryType="Line", message={"sku": "a", "count": 1})
    reason = judge_request(policy(RULES["typed"]), "sign.typed-data", body).reason
    assert reason == "not met: primaryTypes"


@pytest.mark.parametrize(
    ("where", "holds"),
    [
        ({"lines.count": {"max": "2"}}, True),
        ({"lines.count": {"max": "1"}}, False),
        ({"lines.sku": ["a", "b"]}, True),
        ({"lines.sku": ["a"]}, False),
        ({"seller": [MERCHANT]}, True),
        ({"seller": [STRANGER]}, False),
        ({"seller": "any"}, True),
        ({"seller.x": "any"}, False),
        ({"lines": "any"}, False),
        ({"buyer": "any"}, False),
        ({"seller": {"max": "1"}}, False),
        ({"price": [1000]}, True),
        ({"price": ["1000 wei"]}, True),
        ({"price": [True]}, False),
    ],
)
def test_members_are_found_by_dotted_path(where: Any, holds: bool) -> None:
    assert is_allowed(policy(rule("typed", where=where)), "sign.typed-data", ORDER) is holds


def test_the_domain_must_meet_its_criteria() -> None:
    def by(**changes: Any) -> Any:
        return policy(rule("typed", domain={**RULES["typed"]["domain"], **changes}))

    assert is_allowed(by(version=["1"]), "sign.typed-data", ORDER)
    assert not is_allowed(by(version=["2"]), "sign.typed-data", ORDER)
    assert is_allowed(by(verifyingContract=[STRANGER]), "sign.typed-data", ORDER)
    assert not is_allowed(by(verifyingContract=[MERCHANT]), "sign.typed-data", ORDER)
    without = order(domain={"name": "Shop", "chainId": 1})
    assert not is_allowed(by(verifyingContract=[STRANGER]), "sign.typed-data", without)


@pytest.mark.parametrize(
    ("body", "failed"),
    [
        ({"message": "Sign in to shop as Anna"}, None),
        ({"messageHex": "0x" + b"Sign in to shop\xff".hex()}, None),
        ({"message": "sign in to shop"}, "prefixes"),
        ({"message": "Sign in to shop" + "é" * 243}, "maxBytes"),
        ({"messageHex": "0x" + "ab" * 32}, "prefixes"),
    ],
)
def test_a_message_has_a_prefix_and_a_length(body: Any, failed: str | None) -> None:
    judgement = judge_request(policy(RULES["message"]), "sign.message", body, "anna")
    assert judgement.reason == ("" if failed is None else f"not met: {failed}")


@pytest.mark.parametrize(
    ("body", "failed"),
    [
        ({"chainId": 1, "address": MERCHANT, "nonce": 0}, None),
        ({"chainId": 0, "address": MERCHANT, "nonce": 0}, "chainIds"),
        ({"chainId": 1, "address": STRANGER, "nonce": 0}, "delegates"),
    ],
)
def test_a_delegation_is_of_one_chain_to_a_known_delegate(body: Any, failed: str | None) -> None:
    judgement = judge_request(policy(RULES["delegate"]), "sign.authorization", body)
    assert judgement.reason == ("" if failed is None else f"not met: {failed}")


@pytest.mark.parametrize(
    ("wallets", "user_id", "about"),
    [
        ("any", "x", True),
        ({"userIds": ["anna", "bert"]}, "bert", True),
        ({"userIds": ["anna"]}, "anna2", False),
        ({"userIds": ["anna"]}, "Anna", False),
        ({"prefixes": ["shop-", "till-"]}, "till-", True),
        ({"prefixes": ["shop-"]}, "my-shop-1", False),
    ],
)
def test_a_rule_may_apply_to_some_wallets_only(wallets: Any, user_id: str, about: bool) -> None:
    by = policy(rule("key", wallets=wallets))
    assert is_allowed(by, "private_key.read", None, user_id) is about
    assert not is_allowed(by, "private_key.export", None, user_id)


EVERYTHING = {
    "sign.message": {"message": "Sign in to shop"},
    "sign.typed-data": ORDER,
    "sign.transaction": transaction(),
    "sign.authorization": {"chainId": 1, "address": MERCHANT, "nonce": 0},
    "private_key.read": None,
    "private_key.export": None,
}


@pytest.mark.parametrize("action", EVERYTHING)
def test_a_request_that_no_rule_covers_is_refused(action: str) -> None:
    others = [one for one in RULES.values() if one["action"] != action]
    judgement = judge_request(policy(*others), action, EVERYTHING[action])
    assert (judgement.matches, judgement.nearest) == ((), None)
    assert judgement.reason == f"no rule is for {action}"


def test_the_nearest_rule_is_the_one_of_which_the_fewest_criteria_fail() -> None:
    by = policy(RULES["pay"], RULES["call"])
    assert judge_request(by, "sign.transaction", call(TRANSFER, STRANGER, 1)).nearest == "call"
    assert judge_request(by, "sign.transaction", call(APPROVE, STRANGER, 1)).nearest == "pay"
    assert judge_request(by, "sign.transaction", transaction(to=STRANGER)).nearest == "pay"


def test_matches_come_in_the_documents_order_with_what_they_take() -> None:
    first = rule("pay", id="first", windows=[{"per": "minute", "of": "token", "count": 1}])
    judgement = judge_request(policy(first, RULES["pay"]), "sign.transaction", transaction())
    assert [match.rule for match in judgement.matches] == ["first", "pay"]
    (need,) = judgement.matches[0].needs
    assert (need.policy, need.rule, need.window) == ("under-test", "first", "count per minute and token")
    assert (need.subject, need.asset, need.amount, need.maximum) == ("a-token", "", 1, 1)
    value, count = judgement.matches[1].needs
    assert (value.subject, value.amount, value.maximum) == ("shop-1", ETHER // 10, ETHER)
    assert (count.subject, count.amount, count.maximum) == ("a-token", 1, 100)


def test_amounts_of_tokens_are_counted_apart_by_chain_and_contract() -> None:
    by = policy(rule("call", chainIds="any", to="any"))
    (need,) = judge_request(by, "sign.transaction", call(TRANSFER, MERCHANT, 7)).matches[0].needs
    assert (need.asset, need.amount) == (f"1:{USDC}", 7)
    (other,) = (
        judge_request(by, "sign.transaction", call(TRANSFER, MERCHANT, 7, chainId=137)).matches[0].needs
    )
    assert other.asset == f"137:{USDC}"


def test_value_and_fee_are_added_up_over_all_chains() -> None:
    windows = [
        {"per": "day", "of": "wallet", "sum": measure, "max": "1 ether"}
        for measure in ("value", "fee", "value+fee")
    ]
    matches = judge_request(policy(rule("pay", windows=windows)), "sign.transaction", transaction()).matches
    fee = 21000 * 20 * GWEI
    assert [need.amount for need in matches[0].needs] == [ETHER // 10, fee, ETHER // 10 + fee]
    assert {need.asset for need in matches[0].needs} == {""}


def test_any_recipient_includes_none_at_all() -> None:
    by = policy(rule("pay", to="any", call="any"))
    assert is_allowed(by, "sign.transaction", transaction(to=None, data="0x60"))
    assert not is_allowed(
        policy(rule("pay", to=[MERCHANT], call="any")), "sign.transaction", transaction(to=None, data="0x60")
    )


def test_a_policy_without_rules_refuses() -> None:
    judgement = judge(policy(), "anna", "a-token", operation_of("sign.message", {"message": "x"}))
    assert judgement.matches == ()


@pytest.mark.parametrize(
    ("rules", "failed"),
    [
        ([RULES["pay"]], "authorizationList"),
        ([RULES["pay"], RULES["delegate"]], None),
        ([RULES["pay"], rule("delegate", delegates=[STRANGER])], "authorizationList"),
        ([RULES["pay"], rule("delegate", chainIds=[2])], "authorizationList"),
        ([RULES["pay"], rule("delegate", wallets={"userIds": ["x"]})], "authorizationList"),
    ],
)
def test_a_set_code_transaction_needs_a_rule_for_each_delegation_too(rules: Any, failed: str | None) -> None:
    consent = SignedAuthorization(Authorization(1, MERCHANT, 0), 0, 1, 1)
    plain = TransactionBody.model_validate(transaction()["transaction"]).fields()
    setting = transactions.read(replace(plain, authorizations=[consent]))
    judgement = judge(policy(*rules), "shop-1", "a-token", TransactionSigning(setting))
    assert judgement.reason == ("" if failed is None else f"not met: {failed}")
