"""`GET /audit/events`: every row once, newest first, by filter."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from calling import Service, make_token
from kms_service.access.scopes import Scope

MEMBERS = {
    "id", "at", "actor", "action", "outcome", "userId", "walletAddress", "requestId", "kmsKeyId",
    "kmsRequestId", "detail",
}  # fmt: skip


def _events(service: Service, **wanted: Any) -> list[dict[str, Any]]:
    answer = service.call("GET", "/audit/events", params=wanted)
    assert answer.status_code == 200, answer.text
    events: list[dict[str, Any]] = answer.json()["events"]
    return events


def test_an_event_says_who_did_what_to_whom_and_joins_with_cloudtrail(own_service: Service) -> None:
    address = own_service.create("alice").json()["walletAddress"]
    answer = own_service.call("POST", "/wallets/alice/sign/message", json={"message": "hello"})
    event = _events(own_service, limit=1)[0]
    assert event.keys() == MEMBERS
    assert (event["action"], event["outcome"]) == ("sign.message", "ok")
    assert (event["userId"], event["walletAddress"]) == ("alice", address)
    assert event["requestId"] == answer.headers["X-Request-Id"]
    assert event["detail"] == answer.json()["messageHash"]
    assert event["actor"].startswith("caller-")
    assert event["kmsKeyId"].startswith("arn:aws:kms:")
    assert event["kmsRequestId"]
    assert abs(datetime.fromisoformat(event["at"]) - datetime.now().astimezone()) < timedelta(minutes=1)


def test_pages_hold_every_row_once_newest_first(own_service: Service) -> None:
    for number in range(7):
        own_service.create(f"user-{number}")
    everything = _events(own_service, limit=500)
    seen = []
    cursor: dict[str, str] | None = {}
    while cursor is not None:
        page = own_service.call("GET", "/audit/events", params={"limit": 3, **cursor}).json()
        seen += page["events"]
        cursor = {"cursor": page["nextCursor"]} if page["nextCursor"] else None
    assert seen == everything
    assert [event["id"] for event in seen] == sorted((event["id"] for event in seen), reverse=True)


def test_events_can_be_filtered(own_service: Service) -> None:
    for user in ("alice", "bob"):
        own_service.create(user)
    own_service.call("GET", "/wallets/alice/private-key")
    own_service.call("GET", "/wallets/nobody/private-key")
    made, read = _events(own_service, userId="alice")[::-1]
    assert (made["action"], read["action"]) == ("wallet.create", "private_key.read")
    assert {event["userId"] for event in _events(own_service, action="wallet.create")} == {"alice", "bob"}
    assert _events(own_service, userId="alice", action="wallet.create") == [made]
    assert _events(own_service, actor="nobody") == []
    chains = {event["action"] for event in _events(own_service, actor="kms-service")}
    assert chains == {"audit.open", "audit.close"}
    since = _events(own_service, userId="alice", since=read["at"])
    assert since == [read]
    assert _events(own_service, userId="alice", until=read["at"]) == [made]
    assert _events(own_service, userId="nobody")[0]["outcome"] == "wallet_not_found"
    assert [event["userId"] for event in _events(own_service, outcome="wallet_not_found")] == ["nobody"]
    assert {event["kmsKeyId"] for event in _events(own_service, kmsKeyId=made["kmsKeyId"])} == {
        made["kmsKeyId"]
    }
    assert _events(own_service, kmsKeyId=made["kmsKeyId"][:-1]) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"limit": 0}, {"limit": 501}, {"cursor": "0"}, {"cursor": "x"}, {"cursor": "9" * 19},
        {"since": "yesterday"}, {"since": "2026-01-01T00:00:00"}, {"userId": "a b"}, {"actor": "a\0"},
        {"outcome": "a b"}, {"kmsKeyId": "alias/a"},
    ],
)  # fmt: skip
def test_a_malformed_query_is_422(service: Service, wrong: dict[str, Any]) -> None:
    assert service.call("GET", "/audit/events", params=wrong).status_code == 422


def test_a_refused_caller_is_on_record(service: Service) -> None:
    token = make_token(service.services, Scope.WALLETS_READ)
    refused = service.call("GET", "/audit/events", token=token)
    assert refused.status_code == 403
    event = _events(service, action="authorize")[0]
    assert event["requestId"] == refused.headers["X-Request-Id"]
    assert event["detail"] == "GET /audit/events needs audit:read"
