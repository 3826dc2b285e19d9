"""`GET /wallets`: keyset pages in byte order, which insertions and tampering do not disturb."""

import base64
from typing import Any

import pytest

from calling import Service

USERS = sorted(
    [
        "alice",
        "Alice",
        "ALICE",
        "alice.1",
        "alice-1",
        "alice_1",
        "alice:1",
        "alice@1",
        "alice1",
        "0",
        "Zoe",
        "zoe",
    ],
    key=str.encode,
)


@pytest.fixture(scope="module", autouse=True)
def _wallets(service: Service) -> None:
    results = service.call("POST", "/wallets/batch", json={"userIds": USERS}).json()["results"]
    assert {each["status"] for each in results} == {201}


def _page(service: Service, **query: Any) -> dict[str, Any]:
    answer = service.call("GET", "/wallets", params=query)
    assert answer.status_code == 200
    page: dict[str, Any] = answer.json()
    assert page.keys() == {"wallets", "nextCursor"}
    return page


def _walk(service: Service, **query: Any) -> list[str]:
    users: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = _page(service, **query, **cursor)
        users += [wallet["userId"] for wallet in page["wallets"]]
        if page["nextCursor"] is None:
            return users
        assert len(page["wallets"]) == query["limit"]
        cursor = {"cursor": page["nextCursor"]}


@pytest.mark.parametrize("limit", [1, 2, 5, len(USERS) - 1, len(USERS), 500])
def test_pages_hold_every_wallet_once_in_byte_order(service: Service, limit: int) -> None:
    assert _walk(service, limit=limit) == USERS


def test_all_wallets_fit_into_the_default_page(service: Service) -> None:
    page = _page(service)
    assert [wallet["userId"] for wallet in page["wallets"]] == USERS
    assert page["nextCursor"] is None
    assert page["wallets"][0] == service.call("GET", f"/wallets/{USERS[0]}").json()


def test_pages_of_one_key_hold_only_its_wallets(service: Service) -> None:
    by_key: dict[str, list[str]] = {}
    for wallet in _page(service)["wallets"]:
        by_key.setdefault(wallet["kmsKeyId"], []).append(wallet["userId"])
    for key, users in by_key.items():
        assert _walk(service, limit=1, kmsKeyId=key) == users
    assert _walk(service, limit=1, kmsKeyId=key[:-12] + "000000000000") == []


def test_a_wallet_made_meanwhile_does_not_shift_the_pages(service: Service) -> None:
    first = _page(service, limit=3)
    service.create("!".replace("!", "00"))
    second = _page(service, limit=3, cursor=first["nextCursor"])
    users = [wallet["userId"] for wallet in second["wallets"]]
    assert users == USERS[3:6]


@pytest.mark.parametrize(
    "query",
    [
        {"limit": "0"},
        {"limit": "501"},
        {"limit": "-1"},
        {"limit": "many"},
        {"limit": "1.5"},
        {"cursor": ""},
        {"cursor": "!"},
        {"cursor": "a" * 201},
        {"cursor": "é"},
        {"cursor": base64.urlsafe_b64encode(b"not a user").decode()},
        {"cursor": base64.urlsafe_b64encode(b"alice'; DROP TABLE wallets; --").decode()},
        {"cursor": base64.urlsafe_b64encode("é".encode()).decode()},
        {"kmsKeyId": "alias/Empressa-wallet-key-1"},
        {"kmsKeyId": "arn:aws:kms:eu-central-1:111122223333:key/x' OR '1'='1"},
    ],
    ids=str,
)
def test_a_wrong_query_names_the_field_and_not_the_value(service: Service, query: dict[str, str]) -> None:
    answer = service.call("GET", "/wallets", params=query)
    problem = answer.json()
    ((name, value),) = query.items()
    assert (answer.status_code, problem["code"]) == (422, "invalid_request")
    assert problem["errors"][0]["field"] == f"query.{name}"
    assert len(value) < 3 or value not in answer.text


@pytest.mark.parametrize("path", ["/wallets", "/wallets/alice", "/wallets/alice/private-key"])
def test_a_misspelt_parameter_does_not_list_everything(service: Service, path: str) -> None:
    answer = service.call("GET", path, params={"kmskeyid": "canary", "c anary": "1"})
    assert answer.status_code == 422
    assert {each["field"] for each in answer.json()["errors"]} == {"query.kmskeyid", "query.(unnamed)"}
    assert "canary" not in answer.text


def test_a_tampered_cursor_is_refused_or_moves_the_page_and_does_nothing_else(service: Service) -> None:
    cursor = _page(service, limit=3)["nextCursor"]
    for position in range(len(cursor)):
        for character in "A-_z9=":
            tampered = cursor[:position] + character + cursor[position + 1 :]
            answer = service.call("GET", "/wallets", params={"limit": 3, "cursor": tampered})
            assert answer.status_code in {200, 422}
