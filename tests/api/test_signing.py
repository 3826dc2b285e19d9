"""Signing and the encrypted export over HTTP: correct signatures, one KMS call and one audit row each."""

import base64
import itertools
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from eth_account import Account
from eth_account.messages import encode_defunct, encode_typed_data
from httpx import Response
from pyhpke import KEMKey
from sqlalchemy import select, text

from calling import Service, make_token
from event_loop import complete, enter
from kms_endpoint import Error
from kms_service.access.scopes import Scope
from kms_service.crypto import export
from kms_service.store.postgres.tables import audit_events

SOMEONE = "0x" + "35" * 20
TRANSACTION: dict[str, Any] = {
    "chainId": 1,
    "nonce": 0,
    "maxFeePerGas": "0x77359400",
    "maxPriorityFeePerGas": "1",
    "gasLimit": 21000,
    "to": SOMEONE,
    "value": "10000000000000000000",
}
TYPED: dict[str, Any] = {
    "domain": {"name": "Shop", "chainId": 1},
    "types": {"Order": [{"name": "id", "type": "uint256"}, {"name": "items", "type": "string[]"}]},
    "primaryType": "Order",
    "message": {"id": "9007199254740993", "items": ["é", ""]},
}
BODIES: dict[str, dict[str, Any]] = {
    "sign/message": {"message": "hello"},
    "sign/typed-data": TYPED,
    "sign/transaction": {"transaction": TRANSACTION},
    "private-key/export": {
        "recipientPublicKey": base64.b64encode(
            X25519PrivateKey.from_private_bytes(b"\x07" * 32).public_key().public_bytes_raw()
        ).decode()
    },
}
ACTIONS = {
    "sign/message": "sign.message",
    "sign/typed-data": "sign.typed_data",
    "sign/transaction": "sign.transaction",
    "private-key/export": "private_key.export",
}
_numbers = itertools.count(1)


def _wallet(service: Service) -> tuple[str, str]:
    """A fresh user and the wallet's address."""
    user = f"signer-{next(_numbers)}"
    return user, service.create(user).json()["walletAddress"]


def _ask(service: Service, user: str, route: str, body: Any, **content: Any) -> Response:
    return service.call("POST", f"/wallets/{user}/{route}", json=body, **content)


def _rows(service: Service, user: str) -> list[Any]:
    query = select(audit_events).where(audit_events.c.user_id == user).order_by(audit_events.c.id)
    with enter(service.owner.engine.connect()) as connection:
        return list(complete(connection.execute(query)))[1:]  # the first is the wallet's creation


def _assert_refused(answer: Response, field: str) -> None:
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request"), answer.text
    assert [error["field"] for error in answer.json()["errors"]] == [field]


@pytest.mark.parametrize("body", [{"message": "héllo"}, {"messageHex": "0x" + "héllo".encode().hex()}])
def test_a_message_is_signed_by_the_wallet(service: Service, body: dict[str, str]) -> None:
    user, address = _wallet(service)
    answer = _ask(service, user, "sign/message", body)
    assert answer.status_code == 200
    assert answer.json().keys() == {"walletAddress", "signature", "messageHash"}
    assert answer.json()["walletAddress"] == address
    encoded = encode_defunct(text="héllo")
    assert Account.recover_message(encoded, signature=answer.json()["signature"]) == address
    assert _ask(service, user, "sign/message", body).json() == answer.json()


def test_typed_data_is_signed_by_the_wallet(service: Service) -> None:
    user, address = _wallet(service)
    answer = _ask(service, user, "sign/typed-data", TYPED).json()
    message = {"id": 9007199254740993, "items": ["é", ""]}
    encoded = encode_typed_data(TYPED["domain"], TYPED["types"], message)
    assert (
        Account.recover_message(encoded, signature=answer["signature"]) == answer["walletAddress"] == address
    )


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"accessList": [{"address": SOMEONE, "storageKeys": ["0x" + "01" * 32]}]},
        {"maxFeePerGas": None, "maxPriorityFeePerGas": None, "gasPrice": "0x1"},
        {"maxFeePerGas": None, "maxPriorityFeePerGas": None, "gasPrice": 1, "type": 1},
    ],
)
def test_a_transaction_is_signed_by_the_wallet(service: Service, changes: dict[str, Any]) -> None:
    user, address = _wallet(service)
    transaction = {**TRANSACTION, **changes, "from": address.lower()}
    answer = _ask(service, user, "sign/transaction", {"transaction": transaction}).json()
    assert answer.keys() == {"walletAddress", "rawTransaction", "transactionHash"}
    assert Account.recover_transaction(answer["rawTransaction"]) == answer["walletAddress"] == address


def test_an_export_opens_to_the_private_key(service: Service) -> None:
    user, address = _wallet(service)
    recipient = X25519PrivateKey.generate()
    public = base64.b64encode(recipient.public_key().public_bytes_raw()).decode()
    answer = _ask(service, user, "private-key/export", {"recipientPublicKey": public}).json()
    assert answer.keys() == {"walletAddress", "encapsulatedKey", "ciphertext"}
    context = export._suite().create_recipient_context(
        base64.b64decode(answer["encapsulatedKey"]),
        KEMKey.from_pyca_cryptography_key(recipient),
        b"kms-service/private-key-export/v1",
    )
    opened = context.open(base64.b64decode(answer["ciphertext"]), address.encode())
    bare = service.call("GET", f"/wallets/{user}/private-key").json()["privateKey"]
    assert "0x" + opened.hex() == bare
    assert Account.from_key(opened).address == answer["walletAddress"] == address


@pytest.mark.invariant(3)
@pytest.mark.parametrize("route", BODIES)
def test_each_release_costs_one_kms_call_and_leaves_one_audit_row(service: Service, route: str) -> None:
    user, address = _wallet(service)
    before = len(service.kms.find_requests())
    answer = _ask(service, user, route, BODIES[route])
    assert answer.status_code == 200
    asked = service.kms.find_requests()[before:]
    assert [each.operation for each in asked if each.operation != "DescribeKey"] == ["Decrypt"]
    (row,) = _rows(service, user)
    assert (row.action, row.outcome, row.wallet_address) == (ACTIONS[route], "ok", address)
    assert row.request_id == answer.headers["x-request-id"]
    assert row.kms_key_id == asked[-1].key_id
    assert row.kms_request_id
    assert row.detail == answer.json().get("messageHash", answer.json().get("transactionHash"))
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.invariant(3)
def test_without_an_audit_row_nothing_is_released(own_service: Service) -> None:
    user, _ = _wallet(own_service)
    with enter(own_service.owner.engine.begin()) as connection:
        complete(connection.execute(text("ALTER TABLE audit_events ADD CHECK (false) NOT VALID")))
    for route, body in BODIES.items():
        answer = _ask(own_service, user, route, body)
        assert (answer.status_code, answer.json()["code"]) == (503, "audit_unavailable")
        assert not answer.json().keys() & {"signature", "rawTransaction", "ciphertext", "messageHash"}


@pytest.mark.parametrize("route", BODIES)
def test_releases_for_a_user_without_a_wallet_are_not_found(service: Service, route: str) -> None:
    nobody = f"nobody-{next(_numbers)}"
    answer = _ask(service, nobody, route, BODIES[route])
    assert (answer.status_code, answer.json()["code"]) == (404, "wallet_not_found")
    # Validation comes before existence, and the scope before both.
    assert _ask(service, nobody, route, {}).status_code == 422
    token = make_token(service.services, Scope.PRIVATE_KEYS_READ, Scope.WALLETS_READ)
    assert _ask(service, nobody, route, {}, token=token).status_code == 403


def test_a_key_that_kms_refuses_releases_nothing(own_service: Service) -> None:
    user, _ = _wallet(own_service)
    with own_service.kms.on("Decrypt").answer(Error("KMSInvalidStateException")):
        for route, body in BODIES.items():
            answer = _ask(own_service, user, route, body)
            assert (answer.status_code, answer.json()["code"]) == (503, "kms_key_unusable")
            row = _rows(own_service, user)[-1]
            assert (row.action, row.outcome) == (ACTIONS[route], "kms_key_unusable")


def _change(route: str, **changes: Any) -> dict[str, Any]:
    if route == "sign/transaction":
        return {"transaction": {**TRANSACTION, **changes}}
    return {**BODIES[route], **changes}


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("sign/message", {}, "body"),
    ("sign/message", {"message": "a", "messageHex": "0x61"}, "body"),
    ("sign/message", {"messageHex": "0xabc"}, "body.messageHex"),
    ("sign/message", {"message": "a", "encoding": "hex"}, "body.encoding"),
    ("sign/typed-data", _change("sign/typed-data", message={"id": 1}), "body.message.items"),
    ("sign/typed-data", _change("sign/typed-data", primaryType="Mail"), "body.primaryType"),
    ("sign/typed-data", _change("sign/typed-data", domain={"chainId": -1}), "body.domain.chainId"),
    ("sign/typed-data", _change("sign/typed-data", types={}), "body.primaryType"),
    ("sign/typed-data", _change("sign/typed-data", version=4), "body.version"),
    (
        "sign/typed-data",
        _change("sign/typed-data", message={"id": 2**53, "items": []}),
        "body.message.id",
    ),
    ("sign/transaction", TRANSACTION, "body.transaction"),
    ("sign/transaction", _change("sign/transaction", chainId=0), "body.transaction.chainId"),
    ("sign/transaction", _change("sign/transaction", value=2**53), "body.transaction.value"),
    ("sign/transaction", _change("sign/transaction", gas=21000), "body.transaction.gasLimit"),
    ("sign/transaction", _change("sign/transaction", gasPrice=1), "body.transaction.gasPrice"),
    ("sign/transaction", _change("sign/transaction", type=3), "body.transaction.type"),
    ("sign/transaction", _change("sign/transaction", to=None), "body.transaction.to"),
    ("sign/transaction", _change("sign/transaction", blobs=[]), "body.transaction.blobs"),
    ("private-key/export", {}, "body.recipientPublicKey"),
    *[
        ("private-key/export", {"recipientPublicKey": key}, "body.recipientPublicKey")
        for key in (
            "",
            "AAAA",
            "!" * 44,
            base64.b64encode(bytes(32)).decode(),
            base64.b64encode(b"\x09" + bytes(31)).decode()[:-1],  # without its padding
            base64.b64encode(b"\x09" + bytes(31)).decode()[:-2] + "B=",  # with bits that say nothing
            base64.urlsafe_b64encode(b"\xfb" * 31 + b"\x09").decode(),
            base64.b64encode(b"\x09" * 33).decode(),
            None,
        )
    ],
]


@pytest.mark.parametrize(("route", "body", "field"), BAD)
def test_a_bad_request_costs_no_kms_call(service: Service, route: str, body: Any, field: str) -> None:
    user, _ = _wallet(service)
    before = service.kms.count("Decrypt")
    answer = _ask(service, user, route, body)
    if route == "sign/transaction" and body is TRANSACTION:
        assert field in [error["field"] for error in answer.json()["errors"]]
        assert answer.status_code == 422
    else:
        _assert_refused(answer, field)
    assert service.kms.count("Decrypt") == before
    assert _rows(service, user) == []


def test_a_transaction_from_somebody_else_is_refused_and_on_record(service: Service) -> None:
    user, _ = _wallet(service)
    before = service.kms.count("Decrypt")
    body = _change("sign/transaction", **{"from": SOMEONE})
    _assert_refused(_ask(service, user, "sign/transaction", body), "body.transaction.from")
    assert service.kms.count("Decrypt") == before
    (row,) = _rows(service, user)
    assert (row.action, row.outcome) == ("sign.transaction", "invalid_request")


@pytest.mark.parametrize(
    "body",
    [
        b'{"message": "a", "message": "b"}',
        b'{"transaction": {"nonce": 1, "nonce": 2}}',
        b'{"message": NaN}',
        b'{"message": Infinity}',
        b"[" * 60000,
        b'{"message": ' + b"9" * 5000 + b"}",
        '{"message": "a"}'.encode("utf-16"),
        b'\xef\xbb\xbf{"message": "a"}',
        b'{"message": "\xff"}',
    ],
    ids=lambda body: ascii(body[:20]),
)
def test_json_with_two_meanings_is_refused(service: Service, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    answer = service.call("POST", "/wallets/anyone/sign/message", content=body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_json")


def test_refused_values_are_not_repeated(service: Service) -> None:
    user, _ = _wallet(service)
    canary = "canary-7d21"
    for route, body in (
        ("sign/message", {"messageHex": canary}),
        ("sign/typed-data", _change("sign/typed-data", message={"id": canary, "items": []})),
        ("sign/typed-data", _change("sign/typed-data", message={**TYPED["message"], canary: 1})),
        ("sign/transaction", _change("sign/transaction", to=canary)),
        ("private-key/export", {"recipientPublicKey": canary}),
    ):
        answer = _ask(service, user, route, body)
        assert answer.status_code == 422
        assert canary not in answer.text


def test_signatures_are_counted_by_kind_and_caller(service: Service) -> None:
    user, _ = _wallet(service)
    token = make_token(service.services, Scope.WALLETS_SIGN, Scope.PRIVATE_KEYS_EXPORT)
    for route, body in BODIES.items():
        _ask(service, user, route, body, token=token)
    (actor,) = {row.actor for row in _rows(service, user)}
    counted = service.call("GET", "/metrics").text
    for kind, count in (("signature", 3.0), ("export", 1.0)):
        assert f'kms_service_secrets_released_total{{actor="{actor}",kind="{kind}"}} {count}' in counted
