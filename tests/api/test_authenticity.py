"""Invariant 13 from the outside: no route gives the address of a row that somebody else wrote."""

from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from prometheus_client import REGISTRY

from calling import Service
from event_loop import complete, enter

pytestmark = pytest.mark.invariant(13)

PLANTED = "0x" + "Ab" * 20
numbers = count(1)
CHANGES = {
    "another address": f"wallet_address = '{PLANTED}'",
    "another public key": "compressed_public_key = '0x02' || repeat('cd', 32)",
    "no MAC": "wallet_mac = NULL",
    "no MAC key": "wallet_mac_key_id = NULL",
    "another user's MAC": "wallet_mac = (SELECT wallet_mac FROM wallets WHERE user_id = 'whole')",
    "another user's wallet": "user_id = 'redirected'",
}
TYPED = {
    "domain": {},
    "types": {"A": [{"name": "x", "type": "uint8"}]},
    "primaryType": "A",
    "message": {"x": 1},
}
TRANSACTION = {"chainId": 1, "nonce": 0, "gas": 21000, "gasPrice": 1, "to": "0x" + "11" * 20}
TELLING: list[tuple[str, str, dict[str, Any]]] = [
    ("GET", "", {}),
    ("PUT", "", {}),
    ("GET", "/private-key", {}),
    ("POST", "/private-key/export", {"json": {"recipientPublicKey": "CQ" + "A" * 41 + "="}}),
    ("POST", "/sign/message", {"json": {"message": "hello"}}),
    ("POST", "/sign/typed-data", {"json": TYPED}),
    ("POST", "/sign/transaction", {"json": {"transaction": TRANSACTION}}),
]  # fmt: skip


@pytest.fixture(params=list(CHANGES.values()), ids=list(CHANGES))
def changed_user(service: Service, request: pytest.FixtureRequest) -> Iterator[str]:
    """A user whose row was changed, past the service."""
    service.call("PUT", "/wallets/whole")
    user = f"changed-{next(numbers)}"
    service.create(user)
    with enter(service.owner.connection()) as connection:
        statement = f"UPDATE wallets SET {request.param} WHERE user_id = %s"  # noqa: S608 # from the table above
        complete(connection.exec_driver_sql(statement, (user,)))
    yield "redirected" if "redirected" in request.param else user
    with enter(service.owner.connection()) as connection:
        complete(connection.exec_driver_sql("DELETE FROM wallets WHERE user_id <> 'whole'"))


def test_no_route_gives_its_address_and_kms_is_not_called(service: Service, changed_user: str) -> None:
    before, counted = len(service.kms.requests), _count_failures()
    for method, tail, content in TELLING:
        answer = service.call(method, f"/wallets/{changed_user}{tail}", **content)
        assert (answer.status_code, answer.json()["code"]) == (500, "integrity_failure"), tail
        assert "0x" not in answer.text
    others: list[tuple[str, str, dict[str, Any]]] = [
        ("GET", f"/wallets/users/{changed_user}/private-key", {}),
        ("POST", "/wallets", {"json": {"userId": changed_user}}),
    ]
    for method, path, content in others:
        answer = service.call(method, path, **content)
        assert (answer.status_code, answer.json()["code"]) == (500, "integrity_failure")
        assert "0x" not in answer.text
    assert len(service.kms.requests) == before
    assert _count_failures() - counted == len(TELLING) + 2


def test_a_batch_and_a_list_report_the_row_and_go_on(service: Service, changed_user: str) -> None:
    results = service.call("POST", "/wallets/batch", json={"userIds": ["whole", changed_user]}).json()[
        "results"
    ]
    assert [each["status"] for each in results] == [200, 500]
    assert results[1]["problem"]["code"] == "integrity_failure"
    assert "wallet" not in results[1]
    for limit in (1, 2, 10):
        listed: list[Any] = []
        refused: list[Any] = []
        cursor: dict[str, str] | None = {}
        while cursor is not None:
            page = service.call("GET", "/wallets", params={"limit": limit, **cursor}).json()
            assert len(page["wallets"]) + len(page.get("refused", [])) <= limit
            listed += page["wallets"]
            refused += page.get("refused", [])
            cursor = None if page["nextCursor"] is None else {"cursor": page["nextCursor"]}
        assert [each["userId"] for each in listed] == ["whole"]
        assert [each["userId"] for each in refused] == [changed_user]
        assert refused[0]["problem"]["code"] == "integrity_failure"
        assert refused[0]["problem"]["requestId"]
        assert "0x" not in str(refused)


def test_a_page_of_authentic_rows_has_no_such_member(service: Service) -> None:
    service.call("PUT", "/wallets/whole")
    assert service.call("GET", "/wallets").json().keys() == {"wallets", "nextCursor"}


def test_a_refused_release_is_on_record(service: Service, changed_user: str) -> None:
    service.call("GET", f"/wallets/{changed_user}/private-key")
    event = service.call("GET", "/audit/events", params={"userId": changed_user}).json()["events"][0]
    assert (event["action"], event["outcome"]) == ("private_key.read", "integrity_failure")
    assert event["walletAddress"] is None


def _count_failures() -> float:
    return REGISTRY.get_sample_value("kms_service_integrity_failures_total") or 0.0
