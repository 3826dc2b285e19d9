"""Importing a wallet over HTTP: encrypted to a one-time key, whole or refused, never in the clear."""

import base64
import hashlib
import re
from itertools import count
from typing import Any

import pytest
from httpx import Response

import hpke
from calling import Service, make_token
from event_loop import complete, enter
from kms_service.access.scopes import Scope
from kms_service.crypto.material import Mnemonic, PrivateKey
from kms_service.ethereum import account_of, derive_imported

INFO = b"kms-service/wallet-import/v1"
numbers = count(1)


def _user() -> str:
    return f"imported-{next(numbers)}"


def _key() -> bytes:
    return hashlib.sha256(f"import {next(numbers)}".encode()).digest()


def _begin(service: Service) -> dict[str, Any]:
    answer = service.call("POST", "/wallet-imports")
    assert answer.status_code == 201
    return dict(answer.json())


def _encrypt(begun: dict[str, Any], secret: bytes, user: str, info: bytes = INFO) -> dict[str, str]:
    recipient = base64.b64decode(begun["recipientPublicKey"])
    encapsulated, ciphertext = hpke.seal(recipient, secret, info, user.encode())
    return {
        "importId": begun["importId"],
        "encapsulatedKey": base64.b64encode(encapsulated).decode(),
        "ciphertext": base64.b64encode(ciphertext).decode(),
    }


def _import(service: Service, user: str, secret: bytes) -> Response:
    return service.call("PUT", f"/wallets/{user}/import", json=_encrypt(_begin(service), secret, user))


def _is(answer: Response, status: int, code: str) -> None:
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text


def test_a_bare_key_becomes_the_users_wallet(service: Service) -> None:
    user, key = _user(), _key()
    answer = _import(service, user, key)
    account = account_of(PrivateKey(key))
    assert answer.status_code == 201
    assert answer.json()["walletAddress"] == account.address
    assert answer.json()["compressedPublicKey"] == account.compressed_public_key
    assert service.call("GET", f"/wallets/{user}").json() == answer.json()
    assert service.call("GET", f"/wallets/{user}/private-key").json()["privateKey"] == "0x" + key.hex()


@pytest.mark.parametrize(
    "phrase",
    [
        "legal winner thank year wave sausage worth useful legal winner thank yellow",
        (
            "hamster diagram private dutch cause delay private meat slide toddler razor book "
            "happy fancy gospel tennis maple dilemma loan word shrug inflict delay length"
        ),
    ],
    ids=["12 words", "24 words"],
)
def test_a_phrase_becomes_the_users_wallet(service: Service, phrase: str) -> None:
    """Both phrases are among BIP-39's own vectors."""
    user = _user()
    answer = _import(service, user, phrase.encode())
    account = derive_imported(Mnemonic(phrase))
    assert (answer.status_code, answer.json()["walletAddress"]) == (201, account.address)
    read = service.call("GET", f"/wallets/{user}/private-key").json()
    assert read["privateKey"] == "0x" + account.private_key.reveal().hex()


def test_the_import_is_on_record_and_the_key_lies_wrapped(service: Service) -> None:
    user, before = _user(), len(service.kms.requests)
    begun = _begin(service)
    assert begun.keys() == {"importId", "recipientPublicKey", "expiresAt"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", begun["expiresAt"])
    service.call("PUT", f"/wallets/{user}/import", json=_encrypt(begun, _key(), user))
    asked = [(each.operation, each.context["purpose"]) for each in service.kms.requests[before:]]
    assert asked == [
        ("Encrypt", "wallet-import"), ("Decrypt", "wallet-import"), ("Encrypt", "wallet-dek")
    ]  # fmt: skip
    events = service.call("GET", "/audit/events", params={"userId": user}).json()["events"]
    assert [(each["action"], each["outcome"]) for each in events] == [("wallet.import", "ok")]
    private = base64.b64decode(service.kms.requests[before].params["Plaintext"])
    with enter(service.owner.connection()) as connection:
        rows = complete(connection.exec_driver_sql("SELECT * FROM wallet_imports")).all()
    assert private not in b"".join(bytes(each) for row in rows for each in row if isinstance(each, bytes))


def test_an_import_key_is_good_once(service: Service) -> None:
    begun, first, second = _begin(service), _user(), _user()
    assert (
        service.call("PUT", f"/wallets/{first}/import", json=_encrypt(begun, _key(), first)).status_code
        == 201
    )
    _is(
        service.call("PUT", f"/wallets/{second}/import", json=_encrypt(begun, _key(), second)),
        410,
        "import_expired",
    )
    assert service.call("GET", f"/wallets/{second}").status_code == 404


def test_a_failed_attempt_uses_up_the_import_key(service: Service) -> None:
    begun, user = _begin(service), _user()
    wrong = _encrypt(begun, _key(), "somebody-else")
    _is(service.call("PUT", f"/wallets/{user}/import", json=wrong), 422, "invalid_request")
    _is(
        service.call("PUT", f"/wallets/{user}/import", json=_encrypt(begun, _key(), user)),
        410,
        "import_expired",
    )


def test_an_import_key_is_good_for_fifteen_minutes(service: Service) -> None:
    begun, user = _begin(service), _user()
    with enter(service.owner.connection()) as connection:
        left = complete(
            connection.exec_driver_sql(
                "SELECT extract(epoch FROM expires_at - now()) FROM wallet_imports WHERE import_id = %s",
                (begun["importId"],),
            )
        ).scalar_one()
        assert 890 < left <= 900
        complete(
            connection.exec_driver_sql(
                "UPDATE wallet_imports SET expires_at = now() WHERE import_id = %s", (begun["importId"],)
            )
        )
    _is(
        service.call("PUT", f"/wallets/{user}/import", json=_encrypt(begun, _key(), user)),
        410,
        "import_expired",
    )


def test_import_keys_that_expired_long_ago_are_dropped(service: Service) -> None:
    begun = _begin(service)
    with enter(service.owner.connection()) as connection:
        complete(
            connection.exec_driver_sql("UPDATE wallet_imports SET expires_at = now() - interval '25 hours'")
        )
    _begin(service)
    with enter(service.owner.connection()) as connection:
        kept = (
            complete(connection.exec_driver_sql("SELECT import_id::text FROM wallet_imports")).scalars().all()
        )
    assert len(kept) == 1
    assert begun["importId"] not in kept


def test_an_unknown_import_is_answered_as_expired(service: Service) -> None:
    user = _user()
    body = {**_encrypt(_begin(service), _key(), user), "importId": "00000000-0000-4000-8000-000000000000"}
    _is(service.call("PUT", f"/wallets/{user}/import", json=body), 410, "import_expired")


def test_a_user_who_has_a_wallet_keeps_it_and_no_kms_call_is_made(service: Service) -> None:
    user = _user()
    wallet = service.create(user).json()
    body = _encrypt(_begin(service), _key(), user)
    before = len(service.kms.requests)
    answer = service.call("PUT", f"/wallets/{user}/import", json=body)
    _is(answer, 409, "wallet_exists")
    assert answer.json()["walletAddress"] == wallet["walletAddress"]
    assert len(service.kms.requests) == before
    assert service.call("GET", f"/wallets/{user}").json() == wallet


def test_a_wallet_has_one_user(service: Service) -> None:
    key, first, second = _key(), _user(), _user()
    assert _import(service, first, key).status_code == 201
    answer = _import(service, second, key)
    _is(answer, 409, "address_exists")
    assert "0x" not in answer.text
    assert service.call("GET", f"/wallets/{second}").status_code == 404


ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


@pytest.mark.parametrize(
    ("secret", "reason"),
    [
        (bytes(32), "a private key out of range"),
        (ORDER.to_bytes(32), "a private key out of range"),
        (b"canary " * 11 + b"canary", "a phrase that has a word that is not in"),
        (b"test " * 11 + b"test", "a phrase that has a wrong checksum"),
        (b"test " * 10 + b"junk", "a phrase that does not have 12"),
        (b"test " * 11 + b"junk ", "a phrase that does not have 12"),
        (b"\xff" * 80, "neither a private key"),
        (b"canary", "neither a private key"),
        (b"", "neither a private key"),
    ],
)
def test_anything_that_is_not_a_wallet_is_refused_with_the_reason(
    service: Service, secret: bytes, reason: str
) -> None:
    user = _user()
    answer = _import(service, user, secret)
    _is(answer, 422, "invalid_request")
    assert reason in answer.json()["detail"]
    assert answer.json()["errors"][0]["field"] == "ciphertext"
    assert "canary" not in answer.text
    assert service.call("GET", f"/wallets/{user}").status_code == 404


def test_an_import_encrypted_for_another_user_or_purpose_does_not_open(service: Service) -> None:
    user = _user()
    for body in (
        _encrypt(_begin(service), _key(), user.upper()),
        _encrypt(_begin(service), _key(), user, b"kms-service/private-key-export/v1"),
        {**_encrypt(_begin(service), _key(), user), "importId": _begin(service)["importId"]},
    ):
        answer = service.call("PUT", f"/wallets/{user}/import", json=body)
        _is(answer, 422, "invalid_request")
        assert "not encrypted to this import's key for this user" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("member", "value"),
    [("importId", "x"), ("importId", 5), ("ciphertext", "!"), ("ciphertext", ""), ("encapsulatedKey", None),
     ("encapsulatedKey", "AAA"), ("privateKey", "0x00")],
)  # fmt: skip
def test_a_body_of_another_shape_is_refused(service: Service, member: str, value: object) -> None:
    user = _user()
    body: dict[str, object] = {**_encrypt(_begin(service), _key(), user), member: value}
    _is(service.call("PUT", f"/wallets/{user}/import", json=body), 422, "invalid_request")


def test_importing_needs_its_own_scope(service: Service) -> None:
    others = make_token(service.services, *(scope for scope in Scope if scope is not Scope.WALLETS_IMPORT))
    _is(service.call("POST", "/wallet-imports", token=others), 403, "not_authorized")
    only = make_token(service.services, Scope.WALLETS_IMPORT)
    assert service.call("POST", "/wallet-imports", token=only).status_code == 201


def test_an_import_and_a_creation_that_race_leave_one_wallet(service: Service) -> None:
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 # only here

    user = _user()
    bodies = [_encrypt(_begin(service), _key(), user) for _ in range(3)]
    with ThreadPoolExecutor(4) as executor:
        imports = [
            executor.submit(service.call, "PUT", f"/wallets/{user}/import", json=body) for body in bodies
        ]
        made = executor.submit(service.call, "PUT", f"/wallets/{user}").result()
        answers = [each.result() for each in imports]
    wallet = service.call("GET", f"/wallets/{user}").json()
    assert made.json() == wallet
    assert [made.status_code, *(each.status_code for each in answers)].count(201) == 1
    assert {each.json()["walletAddress"] for each in answers} == {wallet["walletAddress"]}
