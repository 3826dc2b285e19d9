"""Properties that hold for everything that can be generated, not only for the cases we thought of."""

import copy
import json
from typing import Any

import eth_abi
from hypothesis import given
from hypothesis import strategies as st

from kms_service.ethereum.abi import CallMismatch, parse_function
from kms_service.ethereum.address import add_checksum
from kms_service.service.policies.language.amounts import amount
from kms_service.service.policies.language.document import InvalidPolicy, parse
from policies.requests import MERCHANT, USDC, judge_request, policy, transaction
from policies.test_document import RULES

TRANSFER = parse_function("transfer(address to, uint256 amount)")
BATCH = parse_function("pay((address to, bytes memo)[] payments, bool[2] flags)")
DECIMALS = {"wei": 0, "gwei": 9, "ether": 18}
addresses = st.binary(min_size=20, max_size=20).map(add_checksum)
uints = st.integers(0, 2**256 - 1)


@given(st.integers(0, 10**40), st.sampled_from(sorted(DECIMALS)))
def test_an_amount_equals_that_of_exact_arithmetic(smallest: int, unit: str) -> None:
    whole, rest = divmod(smallest, 10 ** DECIMALS[unit])
    fraction = str(rest).zfill(DECIMALS[unit]) if DECIMALS[unit] else ""
    assert amount(f"{whole}.{fraction} {unit}" if fraction else f"{whole} {unit}") == smallest
    assert amount(f"{whole} {unit}") == smallest - rest


@given(addresses, uints)
def test_a_call_decodes_to_what_was_encoded(to: str, number: int) -> None:
    data = TRANSFER.selector + eth_abi.encode(TRANSFER.types, [to, number])
    assert TRANSFER.arguments(data) == {"to": to, "amount": number}


@given(st.data())
def test_changed_bytes_are_refused_or_decode_to_other_arguments(data: st.DataObject) -> None:
    payments = data.draw(st.lists(st.tuples(addresses, st.binary(max_size=40)), max_size=3))
    call = bytearray(BATCH.selector + eth_abi.encode(BATCH.types, [payments, [True, False]]))
    for _ in range(data.draw(st.integers(1, 3))):
        call[data.draw(st.integers(4, len(call) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        arguments = BATCH.arguments(bytes(call))
    except CallMismatch:
        return
    again = [(each["to"], each["memo"]) for each in arguments["payments"]]
    assert BATCH.selector + eth_abi.encode(BATCH.types, [again, arguments["flags"]]) == call


@given(st.binary(max_size=400))
def test_no_bytes_break_the_decoder(data: bytes) -> None:
    for function in (TRANSFER, BATCH):
        try:
            function.arguments(function.selector + data)
        except CallMismatch:
            continue


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(sorted(RULES)), st.data())
def test_a_rule_that_is_accepted_has_every_criterion(name: str, data: st.DataObject) -> None:
    """Whatever replaces a criterion, the document is refused or the criterion is there."""
    rule = copy.deepcopy(RULES[name])
    member = data.draw(st.sampled_from(sorted(rule)))
    rule[member] = data.draw(json_values)
    try:
        (read,) = parse(json.dumps({"rules": [rule]}).encode()).rules
    except InvalidPolicy:
        return
    assert all(getattr(read, field) is not None for field in type(read).model_fields)


@given(
    value=uints,
    gas=st.integers(0, 2**40),
    price=st.integers(0, 2**60),
    chain=st.integers(1, 3),
    to=st.sampled_from([MERCHANT, USDC]),
    data=st.sampled_from(["0x", "0x00"]),
    user=st.sampled_from(["shop-1", "other"]),
    bounds=st.tuples(uints, uints),
)
def test_a_payment_is_allowed_exactly_when_every_criterion_holds(
    value: int, gas: int, price: int, chain: int, to: str, data: str, user: str, bounds: tuple[int, int]
) -> None:
    rule = {
        **RULES["pay"],
        "chainIds": [1, 2],
        "value": {"max": str(bounds[0])},
        "fee": {"max": str(bounds[1])},
        "to": [MERCHANT],
    }
    fields = {"maxFeePerGas": None, "maxPriorityFeePerGas": None, "gasPrice": str(price), "gas": gas}
    body = transaction(**fields, value=str(value), chainId=chain, to=to, data=data)
    expected = (
        value <= bounds[0]
        and gas * price <= bounds[1]
        and chain in {1, 2}
        and to == MERCHANT
        and data == "0x"
        and user == "shop-1"
    )
    judgement = judge_request(policy(rule), "sign.transaction", body, user)
    assert bool(judgement.matches) is expected
    assert (judgement.nearest is None) is expected


@given(st.permutations(sorted(RULES)), st.integers(0, len(RULES)))
def test_more_rules_never_allow_less(order: list[str], count: int) -> None:
    requests: list[tuple[str, Any]] = [
        ("sign.transaction", transaction()),
        ("sign.message", {"message": "Sign in to shop"}),
        ("private_key.read", None),
    ]
    for action, body in requests:
        few = judge_request(policy(*(RULES[name] for name in order[:count])), action, body)
        all_rules = judge_request(policy(*(RULES[name] for name in order)), action, body)
        assert {match.rule for match in few.matches} <= {match.rule for match in all_rules.matches}
