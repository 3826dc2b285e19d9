"""Every operation in the OpenAPI document has a name, a description and examples, and they are true."""

import json
import re
from base64 import b64decode
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from eth_account import Account
from eth_account.messages import encode_defunct
from jsonschema import Draft202012Validator
from pyhpke import AEADId, CipherSuite, KDFId, KEMId, KEMKey

from calling import Service, serving
from event_loop import complete
from kms_endpoint import KmsEndpoint
from kms_service.api.openapi.examples import ADDRESS, EXAMPLES, PRIVATE_KEY
from wiring import TESTER, FreshDatabase, settings_for

# What has to go before something else; the rest may come in any order.
FIRST = ("createWallet", "startRotation", "listRotations", "getRotation", "listFailures")
LAST = ("pauseRotation", "resumeRotation", "cancelRotation", "putKey", "closeSeal")
# What is sent depends on what was answered before (tests/api/test_imports.py sends it), or the serving role
# may not do it (tests/api/test_seal.py does).
ELSEWHERE = ("completeImport", "openSeal")
RECIPIENT = X25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
Operation = dict[str, Any]


@pytest.fixture(scope="module")
def service(fresh_database: FreshDatabase) -> Iterator[Service]:
    """A service whose rotations wait, so that they can be steered."""
    with fresh_database() as url, KmsEndpoint() as endpoint:
        endpoint.add_pool("Empressa-wallet-key", 10)
        with serving(
            settings_for(url, endpoint, rotation_worker_enabled=False, platform_verifier_user_id="alice"),
            endpoint,
        ) as service:
            document = json.dumps(EXAMPLES["getPolicy"].answers[200]["document"])
            complete(service.services.policies.set(TESTER, "checkout", document.encode()))
            yield service


@pytest.fixture(scope="module")
def document(service: Service) -> dict[str, Any]:
    document: dict[str, Any] = service.client.get("/openapi.json").json()
    return document


@pytest.fixture(scope="module")
def operations(document: dict[str, Any]) -> dict[str, Operation]:
    return {
        operation["operationId"]: {**operation, "method": method.upper(), "path": path}
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def test_every_operation_has_a_name_of_its_own(
    document: dict[str, Any], operations: dict[str, Operation]
) -> None:
    assert len(operations) == sum(len(methods) for methods in document["paths"].values())
    assert [name for name in operations if not re.fullmatch(r"[a-z]+([A-Z][a-z]+)*", name)] == []
    assert {"createWallet", "getWallet", "signTransaction", "exportPrivateKey"} <= operations.keys()


def test_every_operation_is_described(operations: dict[str, Operation]) -> None:
    for name, operation in operations.items():
        assert len(operation["summary"].split()) > 2, name
        assert operation["description"].startswith(operation["summary"]), name
        for needed in operation.get("security", ()):
            assert all(f"`{scope}`" in operation["description"] for scope in needed["bearerToken"]), name


def test_every_refusal_names_its_codes_and_shows_each(operations: dict[str, Operation]) -> None:
    for name, operation in operations.items():
        for status, answer in operation["responses"].items():
            if "security" not in operation or status < "400":
                continue
            examples = answer["content"]["application/problem+json"]["examples"]
            assert examples, (name, status)
            for code, example in examples.items():
                assert f"`{code}`" in answer["description"]
                assert (example["value"]["code"], str(example["value"]["status"])) == (code, status)


def test_every_body_and_answer_has_an_example_that_its_schema_takes(
    document: dict[str, Any], operations: dict[str, Operation]
) -> None:
    for name, operation in operations.items():
        contents = [operation["requestBody"]] if "requestBody" in operation else []
        contents += operation["responses"].values()
        for content in contents:
            for media_type, shown in content.get("content", {}).items():
                if media_type.endswith("json") and name != "metrics":  # whose answer is no JSON
                    _check(document, name, shown)


def _check(document: dict[str, Any], name: str, shown: dict[str, Any]) -> None:
    values = [example["value"] for example in shown.get("examples", {}).values()]
    values += [shown["example"]] if "example" in shown else []
    assert values, f"{name} has a body without an example"
    validator = Draft202012Validator({**shown["schema"], "components": document["components"]})
    for value in values:
        validator.validate(value)


def test_no_example_belongs_to_an_operation_that_does_not_exist(operations: dict[str, Operation]) -> None:
    assert EXAMPLES.keys() <= operations.keys()


def test_every_request_is_answered_like_its_example(
    service: Service, operations: dict[str, Operation]
) -> None:
    rest = [name for name in EXAMPLES if name not in (*FIRST, *LAST, *ELSEWHERE)]
    rotation = ""
    for name in (*FIRST, *rest, *LAST):
        example, operation = EXAMPLES[name], operations[name]
        values = {**example.parameters, "id": rotation} if rotation else dict(example.parameters)
        path = operation["path"].format(**values)
        query = {
            each["name"]: values[each["name"]]
            for each in operation.get("parameters", ())
            if each["in"] == "query" and each["name"] in values
        }
        body = {} if example.request is None else {"json": example.request}
        answer = service.call(operation["method"], path, params=query, **body)
        assert answer.status_code in example.answers, (name, answer.text)
        _same_members(name, example.answers[answer.status_code], answer.json())
        rotation = answer.json()["rotationId"] if name == "startRotation" else rotation


def _same_members(where: str, example: Any, real: Any) -> None:
    """Objects have the same members all the way down; of lists the first elements are compared."""
    if isinstance(example, dict) and isinstance(real, dict):
        assert example.keys() == real.keys(), where
        for name in example:
            _same_members(f"{where}.{name}", example[name], real[name])
    elif isinstance(example, list) and isinstance(real, list):
        if example and real:
            _same_members(f"{where}[0]", example[0], real[0])
    elif example is not None and real is not None:
        numbers = isinstance(example, int | float) and isinstance(real, int | float)
        assert numbers or type(example) is type(real), where


def test_the_signatures_are_those_of_the_key_shown() -> None:
    account = Account.from_key(PRIVATE_KEY)
    assert account.address == ADDRESS
    message, typed, transaction = (
        EXAMPLES[f"sign{name}"] for name in ("Message", "TypedData", "Transaction")
    )
    signed = account.sign_message(encode_defunct(text=message.request["message"]))
    assert message.answers[200] == _signature(signed)
    whole = typed.request
    price = int(whole["message"]["price"])
    signed = account.sign_typed_data(whole["domain"], whole["types"], {**whole["message"], "price": price})
    assert typed.answers[200] == _signature(signed)
    consent = EXAMPLES["signAuthorization"]
    agreed = account.sign_authorization(consent.request)
    assert consent.answers[200] == {
        "walletAddress": ADDRESS,
        "authorization": {
            **consent.request,
            "yParity": agreed.y_parity,
            "r": f"0x{agreed.r:064x}",
            "s": f"0x{agreed.s:064x}",
        },
        "authorizationHash": agreed.authorization_hash.to_0x_hex(),
    }
    fields = transaction.request["transaction"]
    sent = account.sign_transaction({name: _number(value) for name, value in fields.items()})
    assert transaction.answers[200] == {
        "walletAddress": ADDRESS,
        "rawTransaction": sent.raw_transaction.to_0x_hex(),
        "transactionHash": sent.hash.to_0x_hex(),
    }


def _signature(signed: Any) -> dict[str, str]:
    return {
        "walletAddress": ADDRESS,
        "signature": signed.signature.to_0x_hex(),
        "messageHash": signed.message_hash.to_0x_hex(),
    }


def _number(value: Any) -> Any:
    return int(value) if isinstance(value, str) and value.isdigit() else value


def test_the_export_shown_opens_to_the_key_shown() -> None:
    example = EXAMPLES["exportPrivateKey"]
    assert b64decode(example.request["recipientPublicKey"]) == RECIPIENT.public_key().public_bytes_raw()
    suite = CipherSuite.new(KEMId.DHKEM_X25519_HKDF_SHA256, KDFId.HKDF_SHA256, AEADId.CHACHA20_POLY1305)
    answer = example.answers[200]
    key = KEMKey.from_pyca_cryptography_key(RECIPIENT)
    context = suite.create_recipient_context(
        b64decode(answer["encapsulatedKey"]), key, b"kms-service/private-key-export/v1"
    )
    opened = context.open(b64decode(answer["ciphertext"]), answer["walletAddress"].encode())
    assert "0x" + opened.hex() == PRIVATE_KEY
