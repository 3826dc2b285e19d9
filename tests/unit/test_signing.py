"""The published examples, and everything that must not be signed."""

import copy
import time
from typing import Any

import pytest
from pydantic import ValidationError

from kms_service.api.wallets.signing import Message, TypedDataBody
from kms_service.api.wallets.transaction import TransactionBody
from kms_service.crypto.material import PrivateKey
from kms_service.errors import InvalidRequest
from kms_service.ethereum import signing, transactions
from kms_service.ethereum.address import keccak256

COW = PrivateKey(keccak256(b"cow"))
SOMEONE = "0x" + "35" * 20
CHECKSUMMED = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"

# https://eips.ethereum.org/EIPS/eip-712, its Mail example; digest and signature from its Example.js.
MAIL: dict[str, Any] = {
    "types": {
        "EIP712Domain": [
            {"name": "name", "type": "string"},
            {"name": "version", "type": "string"},
            {"name": "chainId", "type": "uint256"},
            {"name": "verifyingContract", "type": "address"},
        ],
        "Person": [{"name": "name", "type": "string"}, {"name": "wallet", "type": "address"}],
        "Mail": [
            {"name": "from", "type": "Person"},
            {"name": "to", "type": "Person"},
            {"name": "contents", "type": "string"},
        ],
    },
    "primaryType": "Mail",
    "domain": {
        "name": "Ether Mail",
        "version": "1",
        "chainId": 1,
        "verifyingContract": "0xCcCCccccCCCCcCCCCCCcCcCccCcCCCcCcccccccC",
    },
    "message": {
        "from": {"name": "Cow", "wallet": "0xCD2a3d9F938E13CD947Ec05AbC7FE734Df8DD826"},
        "to": {"name": "Bob", "wallet": "0xbBbBBBBbbBBBbbbBbbBbbbbBBbBbbbbBbBbbBBbB"},
        "contents": "Hello, Bob!",
    },
}
LEGACY: dict[str, Any] = {
    "chainId": 1,
    "nonce": 9,
    "gasPrice": 20 * 10**9,
    "gas": 21000,
    "to": SOMEONE,
    "value": str(10**18),
}
DYNAMIC: dict[str, Any] = {
    "chainId": 1,
    "nonce": 0,
    "maxFeePerGas": 2,
    "maxPriorityFeePerGas": 1,
    "gas": 21000,
    "to": SOMEONE,
}
BEYOND = 2**53


def _digest_typed(body: dict[str, Any]) -> bytes:
    return signing.typed_message(TypedDataBody.model_validate(body).read()).digest


def _one(kind: str, value: Any, **more: Any) -> dict[str, Any]:
    return {
        "domain": {},
        "types": {"It": [{"name": "it", "type": kind}]},
        "message": {"it": value},
        **more,
    }


def _transaction(body: dict[str, Any], key: PrivateKey = COW) -> signing.SignedTransaction:
    return signing.sign_transaction(transactions.read(TransactionBody.model_validate(body).fields()), key)


def test_signs_the_mail_of_eip712() -> None:
    signable = signing.typed_message(TypedDataBody.model_validate(MAIL).read())
    assert signable.digest.hex() == "be609aee343fb3c4b28e1df9e632fca64fcfaede20f02e86244efddf30957bd2"
    assert signing.sign(signable, COW).hex() == (
        "4355c47d63924e8a72e509b65029052eb6c299d53a04e167c5775fd466751c9d"
        "07299936d304c153f6443dfa05f40ff007d72911b6f72307f996231605b91562"
        "1c"
    )


def test_signs_the_transaction_of_eip155() -> None:
    # https://eips.ethereum.org/EIPS/eip-155, "Example".
    assert _transaction(LEGACY, PrivateKey(b"\x46" * 32)).raw.hex() == (
        "f86c098504a817c800825208943535353535353535353535353535353535353535880de0b6b3a76400008025"
        "a028ef61340bd939bc2195fe537567866003e1a15d3c71ff63e1590620aa636276"
        "a067cbe9d8997f761aecb703304b3800ccf555c9f3dc64214b297fb1966a3b6d83"
    )


def test_signs_a_personal_message_as_web3_js_documents() -> None:
    # https://web3js.readthedocs.io/en/v1.10.0/web3-eth-accounts.html#sign
    key = PrivateKey(bytes.fromhex("4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318"))
    signable = signing.personal_message(b"Some data")
    assert signable.digest.hex() == "1da44b586eb0729ff70a73c326926f6ed5a25f5b056e7f47fbc6e58d86871655"
    assert signing.sign(signable, key).hex() == (
        "b91467e570a6466aa9e9876cbcd013baba02900b8979d43fe208a4a4f339f5fd"
        "6007e74cd82e037b800186422fc2da167c747ef045e5d18a5f5d4300f8e1a029"
        "1c"
    )


def test_a_typed_transaction_starts_with_its_type() -> None:
    # EIP-2718; EIP-2930 and EIP-1559 publish no signed example: ethers is the judge in tests/vectors/signing.
    assert _transaction({**LEGACY, "accessList": []}).raw[0] == 1
    assert _transaction({**LEGACY, "type": "0x1"}).raw[0] == 1
    assert _transaction(DYNAMIC).raw[0] == 2
    assert _transaction({**DYNAMIC, "type": 2}).raw == _transaction(DYNAMIC).raw


@pytest.mark.parametrize(
    "same",
    [
        {"gas": "0x5208"},
        {"gas": "21000"},
        {"gas": None, "gasLimit": 21000},
        {"nonce": "0x9", "value": "0xde0b6b3a7640000", "data": "0x", "type": 0},
        {"chainId": "0x01", "accessList": None, "maxFeePerGas": None},
    ],
)
def test_one_transaction_has_many_spellings(same: dict[str, Any]) -> None:
    assert _transaction({**LEGACY, **same}).raw == _transaction(LEGACY).raw


def test_a_checksummed_recipient_is_the_one_in_lower_case() -> None:
    lower = {**LEGACY, "to": CHECKSUMMED.lower()}
    assert _transaction({**LEGACY, "to": CHECKSUMMED}).raw == _transaction(lower).raw


def test_a_contract_is_created_without_a_recipient() -> None:
    created = {**LEGACY, "data": "0x6000"}
    del created["to"]
    assert _transaction(created).raw == _transaction({**created, "to": None}).raw


BAD_FIELDS: list[dict[str, Any]] = [
    {"chainId": 0},
    {"chainId": None},
    {"chainId": 2**63},
    {"nonce": -1},
    {"nonce": None},
    {"nonce": str(2**64 - 1)},
    {"gas": None},
    {"gas": str(2**64)},
    {"gasLimit": 21000},
    {"gasPrice": None},
    {"gasPrice": BEYOND},
    {"gasPrice": 1.0},
    {"gasPrice": True},
    {"gasPrice": "1e9"},
    {"gasPrice": "0x"},
    {"gasPrice": "-1"},
    {"gasPrice": " 1"},
    {"gasPrice": "\N{ARABIC-INDIC DIGIT ONE}"},
    {"gasPrice": "00"},
    {"value": str(2**256)},
    {"value": "9" * 5000},
    {"value": []},
    {"data": "0x0"},
    {"data": "00"},
    {"data": "0X00"},
    {"data": "0x00\n"},
    {"input": "0x00"},
    {"to": None},
    {"to": ""},
    {"to": "0x"},
    {"to": CHECKSUMMED.upper().replace("0X", "0x")},
    {"to": CHECKSUMMED.replace("A", "a", 1)},
    {"to": SOMEONE + "35"},
    {"to": "vitalik.eth"},
    {"type": 3},
    {"type": 4},
    {"type": 1, "maxFeePerGas": 1},
    {"type": 2},
    {"type": 0, "accessList": []},
    {"type": "legacy"},
    {"maxFeePerGas": 2, "maxPriorityFeePerGas": 1},
    {"maxFeePerBlobGas": 1},
    {"blobVersionedHashes": []},
    {"authorizationList": []},
    {"v": 27},
    {"accessList": {}},
    {"accessList": [[SOMEONE, []]]},
    {"accessList": [{"address": SOMEONE}]},
    {"accessList": [{"address": SOMEONE, "storageKeys": ["0x00"]}]},
    {"accessList": [{"address": SOMEONE, "storageKeys": [], "more": 1}]},
    {"from": "0x00"},
]


@pytest.mark.parametrize("bad", BAD_FIELDS, ids=str)
def test_refuses_a_transaction_that_is_not_exactly_one(bad: dict[str, Any]) -> None:
    with pytest.raises((InvalidRequest, ValidationError)):
        _transaction({**LEGACY, **bad})


@pytest.mark.parametrize(
    "bad",
    [
        {"maxPriorityFeePerGas": 3},
        {"maxPriorityFeePerGas": None},
        {"maxFeePerGas": None},
        {"gasPrice": 1},
        {"gasPrice": 0},
        {"type": 0},
    ],
    ids=str,
)
def test_refuses_dynamic_fees_that_contradict(bad: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        _transaction({**DYNAMIC, **bad})


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("bool", "true"),
        ("bool", 1),
        ("bool", None),
        ("uint8", 256),
        ("uint8", -1),
        ("uint8", "0x100"),
        ("uint8", 1.0),
        ("uint8", True),
        ("uint8", ""),
        ("uint8", None),
        ("int8", 128),
        ("int8", -129),
        ("uint256", BEYOND),
        ("uint256", str(2**256)),
        ("int256", str(2**255)),
        ("int256", -BEYOND),
        ("int256", "-0"),
        ("bytes3", "0x0102"),
        ("bytes3", "0x01020304"),
        ("bytes3", "abc"),
        ("bytes3", 1),
        ("bytes", "text"),
        ("bytes", "0x0"),
        ("bytes", None),
        ("string", 1),
        ("string", None),
        ("string", "\ud800"),
        ("address", "0x00"),
        ("address", "0x" + "00" * 32),
        ("address", CHECKSUMMED.replace("A", "a", 1)),
        ("uint8[]", {}),
        ("uint8[]", "0x01"),
        ("uint8[]", None),
        ("uint8[2]", [1]),
        ("uint8[2]", [1, 2, 3]),
        ("uint8[2][]", [[1, 2], [1]]),
        ("uint8[][2]", [[]]),
        ("bytes3[]", ["0x0102"]),
    ],
)
def test_refuses_a_value_that_is_not_exactly_of_its_type(kind: str, value: Any) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        _digest_typed(_one(kind, value))
    assert refusal.value.field.startswith("message.it")


@pytest.mark.parametrize(
    "kind",
    [
        "uint", "int", "uint0", "uint7", "uint264", "uint08", "bytes0", "bytes33", "bytes01", "byte",
        "fixed128x18", "Uint8", "uint8[0]", "uint8[01]", "uint8[-1]", "uint8[", "uint8]", "[]", "",
        " uint8", "uint8 ", "It", "It[]", "Unknown", "uint8" + "[]" * 9,
        "uint8[999999]", "mapping(uint8=>uint8)",
    ],
)  # fmt: skip
def test_refuses_a_type_that_is_not_in_eip712(kind: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        _digest_typed(_one(kind, 1))
    assert refusal.value.field.startswith("types")


def _mail(**changes: Any) -> dict[str, Any]:
    mail = copy.deepcopy(MAIL)
    for path, value in changes.items():
        *steps, last = path.split("__")
        target = mail
        for step in steps:
            target = target[step]
        if value is ...:
            del target[last]
        else:
            target[last] = value
    return mail


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"message__contents": ...}, "message.contents"),
        ({"message__to__wallet": ...}, "message.to.wallet"),
        ({"message__to": None}, "message.to"),
        ({"message__to": []}, "message.to"),
        ({"message__more": 1}, "message"),
        ({"message__to__more": 1}, "message.to"),
        ({"primaryType": "Letter"}, "primaryType"),
        ({"primaryType": "EIP712Domain"}, "primaryType"),
        ({"primaryType": "uint8"}, "primaryType"),
        ({"domain__chainId": -1}, "domain.chainId"),
        ({"domain__chainId": "one"}, "domain.chainId"),
        ({"domain__name": 1}, "domain.name"),
        ({"domain__name": ...}, "types.EIP712Domain"),
        ({"domain__salt": "0x00"}, "types.EIP712Domain"),
        ({"domain__salt": "0x00", "types__EIP712Domain": ...}, "domain.salt"),
        ({"domain__owner": "x"}, "domain"),
        ({"types__EIP712Domain": []}, "types.EIP712Domain"),
        ({"types__Person": []}, "message.from"),
        ({"types__Person": [{"name": "a", "type": "bool"}] * 2}, "types.Person"),
        ({"types__Person": [{"name": "a,bool b", "type": "bool"}]}, "types.Person"),
        ({"types__Person": [{"name": "mail", "type": "Mail"}]}, "types.Person"),
        ({"types__uint8": [{"name": "a", "type": "bool"}]}, "types"),
        ({"types__bytes33": [{"name": "a", "type": "bool"}]}, "types"),
        ({"types__A(bool a)B": [{"name": "a", "type": "bool"}]}, "types"),
        ({"types__Unused": [{"name": "a", "type": "nothing"}]}, "types.Unused.a"),
    ],
    ids=str,
)
def test_refuses_typed_data_that_does_not_match_its_types(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        _digest_typed(_mail(**changes))
    assert refusal.value.field == field


def test_a_type_nobody_uses_changes_nothing_but_needs_a_primary_type() -> None:
    more = _mail(types__Other=[{"name": "a", "type": "bool"}])
    assert _digest_typed(more) == _digest_typed(MAIL)
    del more["primaryType"]
    with pytest.raises(InvalidRequest) as refusal:
        _digest_typed(more)
    assert refusal.value.field == "primaryType"
    assert _digest_typed(_mail(primaryType=...)) == _digest_typed(MAIL)


def test_the_domain_type_may_be_left_out() -> None:
    assert _digest_typed(_mail(types__EIP712Domain=...)) == _digest_typed(MAIL)


def _tower(height: int) -> dict[str, list[dict[str, str]]]:
    """Structs that each use the next one twice: 2^height ways down."""
    pair = [{"name": name, "type": ""} for name in ("a", "b")]
    types = {f"T{n}": [{**member, "type": f"T{n + 1}"} for member in pair] for n in range(height)}
    return {**types, f"T{height}": [{"name": "a", "type": "bool"}]}


@pytest.mark.parametrize("height", [31, 32, 500])
def test_deep_types_are_checked_once_each_and_to_a_limit(height: int) -> None:
    started = time.process_time()
    with pytest.raises(InvalidRequest) as refusal:
        _digest_typed({"domain": {}, "types": _tower(height), "message": {}})
    assert refusal.value.field.startswith("message" if height < 32 else "types")
    assert time.process_time() - started < 5  # it would not end in a lifetime if each way down were taken


def test_refuses_a_message_whose_encoding_would_take_seconds() -> None:
    wide = [{"name": f"m{n}", "type": "uint256"} for n in range(200)]
    types = {
        "All": [{"name": "some", "type": "Some[]"}],
        "Some": [{"name": "wide", "type": "Wide[]"}],
        "Wide": wide,
    }
    body = {"domain": {}, "types": types, "message": {"some": [{"wide": []}] * 4000}}
    with pytest.raises(InvalidRequest, match="too large"):
        _digest_typed(body)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"message": None},
        {"message": "a", "messageHex": "0x61"},
        {"message": 1},
        {"message": "\udc00"},
        {"messageHex": "0x6"},
        {"messageHex": "61"},
        {"message": "a", "more": 1},
    ],
)
def test_refuses_anything_but_exactly_one_message(body: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Message.model_validate(body)


def test_text_and_its_bytes_are_the_same_message() -> None:
    assert Message.model_validate({"message": "é"}).octets() == b"\xc3\xa9"
    assert Message.model_validate({"messageHex": "0xC3a9"}).octets() == b"\xc3\xa9"
    assert Message.model_validate({"message": ""}).octets() == b""
