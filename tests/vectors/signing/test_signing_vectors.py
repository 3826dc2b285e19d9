"""Every signature, made from the JSON of a caller, equals those of ethers and viem byte for byte."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from coincurve.utils import GROUP_ORDER_INT

from kms_service.api.wallets.signing import Message, TypedDataBody
from kms_service.api.wallets.transaction import TransactionBody
from kms_service.crypto.material import PrivateKey
from kms_service.ethereum import json_values, signing, transactions
from kms_service.ethereum.authorizations import Authorization, SignedAuthorization
from kms_service.ethereum.signing import Signable

VECTORS: list[dict[str, Any]] = json.loads((Path(__file__).parent / "vectors.json").read_text())["vectors"]


def _of(kind: str) -> list[Any]:
    chosen = [vector for vector in VECTORS if vector["kind"] == kind]
    return [pytest.param(vector, id=f"{kind}-{number}") for number, vector in enumerate(chosen)]


def _key(vector: dict[str, Any]) -> PrivateKey:
    return PrivateKey(bytes.fromhex(vector["privateKey"][2:]))


def _check(vector: dict[str, Any], signable: Signable) -> None:
    signature = signing.sign(signable, _key(vector))
    assert "0x" + signable.digest.hex() == vector["expected"]["digest"]
    assert "0x" + signature.hex() == vector["expected"]["signature"]
    assert int.from_bytes(signature[32:64]) <= GROUP_ORDER_INT // 2  # EIP-2's low s
    assert signing.sign(signable, _key(vector)) == signature  # RFC 6979: no chance in it


@pytest.mark.parametrize("vector", _of("message"))
def test_messages(vector: dict[str, Any]) -> None:
    _check(vector, signing.personal_message(Message.model_validate(vector["body"]).octets()))


@pytest.mark.parametrize("vector", _of("typedData"))
def test_typed_data(vector: dict[str, Any]) -> None:
    _check(vector, signing.typed_message(TypedDataBody.model_validate(vector["body"]).read()))


@pytest.mark.parametrize("vector", _of("typedData"))
def test_typed_data_without_a_primary_type(vector: dict[str, Any]) -> None:
    # In all of these the first struct is the only one that no other uses.
    body = {name: value for name, value in vector["body"].items() if name != "primaryType"}
    _check(vector, signing.typed_message(TypedDataBody.model_validate(body).read()))


@pytest.mark.parametrize("vector", _of("memberless"))
def test_typed_data_with_types_without_members(vector: dict[str, Any]) -> None:
    _check(vector, signing.typed_message(TypedDataBody.model_validate(vector["body"]).read()))


@pytest.mark.parametrize("vector", _of("authorization"))
def test_authorizations(vector: dict[str, Any]) -> None:
    body, expected = vector["body"], vector["expected"]
    signed, digest = signing.sign_authorization(_authorization(body), _key(vector))
    assert "0x" + digest.hex() == expected["digest"]
    assert (signed.y_parity, f"0x{signed.r:064x}", f"0x{signed.s:064x}") == (
        expected["yParity"],
        expected["r"],
        expected["s"],
    )


def _authorization(body: dict[str, Any]) -> Authorization:
    read = json_values.unsigned_integer
    return Authorization(read(body["chainId"]), json_values.address(body["address"]), read(body["nonce"]))


@pytest.mark.parametrize("vector", _of("setCode"))
def test_set_code_transactions(vector: dict[str, Any]) -> None:
    body = dict(vector["body"])
    read = json_values.unsigned_integer
    carried = [
        SignedAuthorization(_authorization(each), read(each["yParity"]), read(each["r"]), read(each["s"]))
        for each in body.pop("authorizationList")
    ]
    fields = replace(TransactionBody.model_validate(body).fields(), authorizations=carried)
    transaction = transactions.read(fields)
    signed = signing.sign_transaction(transaction, _key(vector))
    assert "0x" + signed.raw.hex() == vector["expected"]["raw"]
    assert "0x" + signed.hash.hex() == vector["expected"]["hash"]
    assert transaction.delegations == [
        (each.authorization.chain_id, each.authorization.delegate) for each in carried
    ]


@pytest.mark.parametrize("vector", _of("transaction"))
def test_transactions(vector: dict[str, Any]) -> None:
    body = TransactionBody.model_validate(vector["body"])
    signed = signing.sign_transaction(transactions.read(body.fields()), _key(vector))
    assert "0x" + signed.raw.hex() == vector["expected"]["raw"]
    assert "0x" + signed.hash.hex() == vector["expected"]["hash"]
