"""The wallet routes as the contract describes them, from the outside."""

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
from httpx import Response

from calling import Service
from event_loop import complete, enter
from kms_endpoint import Error
from kms_service.crypto.material import Mnemonic
from kms_service.ethereum import derive
from planting import with_mac
from vectors.rows import row_of

numbers = count(1)


def _user() -> str:
    return f"user-{next(numbers)}"


def _wallet(answer: Response) -> dict[str, Any]:
    wallet: dict[str, Any] = answer.json()
    assert wallet.keys() == {
        "userId", "walletAddress", "compressedPublicKey", "kmsKeyId", "kmsRegion", "createdAt"
    }  # fmt: skip
    assert re.fullmatch("0x0[23][0-9a-f]{64}", wallet["compressedPublicKey"])
    return wallet


def test_a_wallet_is_made_and_described(service: Service) -> None:
    user, calls = _user(), service.kms.count("Encrypt")
    answer = service.create(user)
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/wallets/{user}"
    wallet = _wallet(answer)
    assert wallet["userId"] == user
    assert re.fullmatch(r"0x[0-9a-fA-F]{40}", wallet["walletAddress"])
    assert wallet["walletAddress"] != wallet["walletAddress"].lower()
    assert wallet["kmsKeyId"] in {key.key_arn for key in service.services.pool.keys}
    assert wallet["kmsRegion"] == service.kms.store.region
    assert wallet["createdAt"].endswith("Z")
    age = datetime.now(UTC) - datetime.fromisoformat(wallet["createdAt"])
    assert timedelta(0) <= age < timedelta(minutes=1)
    assert service.kms.count("Encrypt") == calls + 1
    assert _wallet(service.call("GET", f"/wallets/{user}")) == wallet


def test_the_location_leads_to_the_wallet(service: Service) -> None:
    answer = service.create("A:b@c.example_1-" + _user())
    assert service.call("GET", answer.headers["location"]).json() == answer.json()


def test_a_second_create_is_a_conflict_without_a_kms_call(service: Service) -> None:
    user = _user()
    made = service.create(user).json()
    calls = len(service.kms.requests)
    answer = service.create(user)
    assert answer.status_code == 409
    assert answer.json().items() >= {"code": "wallet_exists", "walletAddress": made["walletAddress"]}.items()
    assert len(service.kms.requests) == calls


def test_put_makes_once_and_then_answers_the_same(service: Service) -> None:
    user = _user()
    first = service.call("PUT", f"/wallets/{user}")
    calls = len(service.kms.requests)
    again = service.call("PUT", f"/wallets/{user}")
    assert (first.status_code, again.status_code) == (201, 200)
    assert _wallet(first) == _wallet(again)
    assert len(service.kms.requests) == calls


def test_reading_a_wallet_asks_kms_nothing(service: Service) -> None:
    user = _user()
    service.create(user)
    calls = len(service.kms.requests)
    service.call("GET", f"/wallets/{user}")
    service.call("GET", "/wallets")
    assert service.call("GET", f"/wallets/{_user()}").status_code == 404
    assert len(service.kms.requests) == calls


def test_users_are_compared_exactly(service: Service) -> None:
    user = _user()
    addresses = {service.create(name).json()["walletAddress"] for name in (user, user.upper(), f"{user}.")}
    assert len(addresses) == 3


def test_a_private_key_belongs_to_the_address_and_costs_one_decrypt(service: Service) -> None:
    user = _user()
    wallet = service.create(user).json()
    calls = len(service.kms.requests)
    answer = service.call("GET", f"/wallets/{user}/private-key")
    assert answer.status_code == 200
    released = answer.json()
    assert released.keys() == {"userId", "walletAddress", "privateKey"}
    assert (released["userId"], released["walletAddress"]) == (user, wallet["walletAddress"])
    assert re.fullmatch(r"0x[0-9a-f]{64}", released["privateKey"])
    assert [each.operation for each in service.kms.requests[calls:]] == ["Decrypt"]
    assert service.call("GET", f"/wallets/{user}/private-key").json() == released
    assert len(service.kms.requests) == calls + 2


def test_a_known_phrase_gives_its_known_key(service: Service) -> None:
    """The row is in version 1 of the contract, which earlier releases wrote."""
    from kms_service.store.postgres.tables import wallets  # noqa: PLC0415 - only this test writes rows

    user, phrase = _user(), "test " * 11 + "junk"
    account = derive(Mnemonic(phrase))
    source = row_of(user, phrase)
    key = service.kms.key("alias/Empressa-wallet-key-1")
    context = {"purpose": "wallet-dek", "wallet_address": account.address}
    row = {
        "user_id": user,
        "wallet_address": account.address,
        "compressed_public_key": account.compressed_public_key,
        "encrypted_seed": source.encrypted_seed,
        "encrypted_dek": key.wrap(source.dek, context),
        "kms_key_id": key.arn,
        "kms_region": service.kms.store.region,
    }
    with enter(service.owner.connection()) as connection:
        complete(connection.execute(wallets.insert(), with_mac(service.services, row)))
    assert service.call("GET", f"/wallets/{user}/private-key").json() == {
        "userId": user,
        "walletAddress": "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
        "privateKey": "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
    }


@pytest.mark.parametrize("path", ["", "/private-key"])
def test_a_user_without_a_wallet_is_not_found(service: Service, path: str) -> None:
    answer = service.call("GET", f"/wallets/{_user()}{path}")
    assert (answer.status_code, answer.json()["code"]) == (404, "wallet_not_found")


def test_a_batch_answers_each_in_order(service: Service) -> None:
    new, old = _user(), _user()
    service.create(old)
    answer = service.call("POST", "/wallets/batch", json={"userIds": [new, old, new, old]})
    assert answer.status_code == 200
    results = answer.json()["results"]
    assert [(each["userId"], each["status"]) for each in results] == [
        (new, 201),
        (old, 200),
        (new, 200),
        (old, 200),
    ]
    assert all(each.keys() == {"userId", "status", "wallet"} for each in results)
    assert results[0]["wallet"] == results[2]["wallet"] == service.call("GET", f"/wallets/{new}").json()


def test_one_failure_of_a_batch_stops_nothing(service: Service) -> None:
    users = [_user() for _ in range(12)]
    broken, refuse = users[5], "ALTER TABLE wallets ADD CONSTRAINT refused CHECK (user_id <> '{}') NOT VALID"
    with enter(service.owner.connection()) as connection:
        complete(connection.exec_driver_sql(refuse.format(broken)))
    results = service.call("POST", "/wallets/batch", json={"userIds": users}).json()["results"]
    with enter(service.owner.connection()) as connection:
        complete(connection.exec_driver_sql("ALTER TABLE wallets DROP CONSTRAINT refused"))
    assert [each["userId"] for each in results] == users
    assert [each["status"] for each in results] == [201] * 5 + [503] + [201] * 6
    assert results[5].keys() == {"userId", "status", "problem"}
    problem = results[5]["problem"]
    assert problem.keys() >= {"type", "title", "status", "detail", "code", "requestId"}
    assert (problem["status"], problem["code"]) == (503, "database_unavailable")
    assert service.call("PUT", f"/wallets/{broken}").status_code == 201


def test_a_batch_under_a_kms_fault_answers_who_has_a_wallet(service: Service) -> None:
    old, new = [_user() for _ in range(3)], [_user() for _ in range(3)]
    service.call("POST", "/wallets/batch", json={"userIds": old})
    users = [user for pair in zip(old, new, strict=True) for user in pair]
    with service.kms.on("Encrypt").answer(Error("ThrottlingException")):
        results = service.call("POST", "/wallets/batch", json={"userIds": users}).json()["results"]
    assert [each["status"] for each in results] == [200, 503] * 3
    assert {each["problem"]["code"] for each in results[1::2]} == {"kms_throttled"}


def test_a_batch_takes_a_hundred_users_and_no_more(service: Service) -> None:
    prefix = _user()
    users = [f"{prefix}-{number}" for number in range(101)]
    answer = service.call("POST", "/wallets/batch", json={"userIds": users})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert service.call("GET", f"/wallets/{users[0]}").status_code == 404
    results = service.call("POST", "/wallets/batch", json={"userIds": users[:100]}).json()["results"]
    assert [each["status"] for each in results] == [201] * 100
    assert len({each["wallet"]["walletAddress"] for each in results}) == 100


def test_forty_creates_at_once_make_one_wallet(service: Service) -> None:
    user = _user()
    with ThreadPoolExecutor(40) as executor:
        answers = list(executor.map(lambda _: service.call("PUT", f"/wallets/{user}"), range(40)))
    assert sorted(answer.status_code for answer in answers) == [200] * 39 + [201]
    assert len({answer.text for answer in answers}) == 1


def test_of_forty_posts_at_once_one_wins_and_all_name_the_same_wallet(service: Service) -> None:
    user = _user()
    with ThreadPoolExecutor(40) as executor:
        answers = list(executor.map(lambda _: service.create(user), range(40)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 39
    assert len({answer.json()["walletAddress"] for answer in answers}) == 1
