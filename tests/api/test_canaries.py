"""Canaries: opening one answers as usual and raises the alarm."""

import pytest

from calling import Service, make_token
from event_loop import complete
from kms_service.access.scopes import Scope
from kms_service.errors import WalletNotFound
from kms_service.service.wallets import guard
from wiring import TESTER


@pytest.fixture
def alarms(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, object]]]:
    rung: list[tuple[str, dict[str, object]]] = []

    class Listening:
        def error(self, event: str, **fields: object) -> None:
            rung.append((event, fields))

    monkeypatch.setattr(guard, "log", Listening())
    return rung


def _count(service: Service) -> float:
    lines = service.client.get("/metrics").text.splitlines()
    counted = [line for line in lines if line.startswith("kms_service_canary_opened_total{")]
    return sum(float(line.split()[-1]) for line in counted)


def test_only_a_pool_admin_learns_from_the_log_which_wallets_are_canaries(own_service: Service) -> None:
    own_service.create("canary")
    complete(own_service.services.canaries.add(TESTER, "canary"))
    reader = make_token(own_service.services, Scope.AUDIT_READ)
    both = make_token(own_service.services, Scope.AUDIT_READ, Scope.POOL_ADMIN)
    shown: dict[str, set[str]] = {}
    for token in (reader, both):
        for query in ({}, {"action": "canary.add"}, {"userId": "canary"}):
            events = own_service.call("GET", "/audit/events", token=token, params=query).json()["events"]
            shown.setdefault(token, set()).update(event["action"] for event in events)
    assert "canary.add" in shown[both]
    assert "canary.add" not in shown[reader]


def test_opening_a_canary_looks_normal_and_raises_the_alarm(
    own_service: Service, alarms: list[tuple[str, dict[str, object]]]
) -> None:
    for user in ("alice", "canary"):
        own_service.create(user)
    complete(own_service.services.canaries.add(TESTER, "canary"))
    complete(own_service.services.shared_state.poll())  # the operator is another process
    before = _count(own_service)
    plain = own_service.call("GET", "/wallets/alice/private-key")
    assert alarms == []
    opened = own_service.call("GET", "/wallets/canary/private-key")
    signed = own_service.call("POST", "/wallets/canary/sign/message", json={"message": "x"})
    assert (plain.status_code, opened.status_code, signed.status_code) == (200, 200, 200)
    assert opened.json().keys() == plain.json().keys()
    assert {*opened.headers} == {*plain.headers}

    assert all(str(fields.pop("actor")).startswith("caller-") for _, fields in alarms)
    assert alarms == [
        ("canary_opened", {"action": action, "userId": "canary"})
        for action in ("private_key.read", "sign.message")
    ]
    assert _count(own_service) - before == 2
    events = own_service.call("GET", "/audit/events", params={"userId": "canary"}).json()["events"]
    assert [event["action"] for event in events] == [
        "canary.opened", "sign.message", "canary.opened", "private_key.read", "canary.add", "wallet.create",
    ]  # fmt: skip
    alarm, release = events[2], events[3]
    assert alarm["requestId"] == release["requestId"] == opened.headers["X-Request-Id"]
    assert alarm["kmsRequestId"] == release["kmsRequestId"]
    assert alarm["detail"].startswith("private_key.read by caller-")


def test_a_wallet_can_stop_being_a_canary(
    own_service: Service, alarms: list[tuple[str, dict[str, object]]]
) -> None:
    own_service.create("alice")
    complete(own_service.services.canaries.add(TESTER, "alice"))
    assert [each.user_id for each in complete(own_service.services.canaries.list_all())] == ["alice"]
    complete(own_service.services.canaries.remove(TESTER, "alice"))
    assert own_service.call("GET", "/wallets/alice/private-key").status_code == 200
    assert alarms == []
    with pytest.raises(WalletNotFound):
        complete(own_service.services.canaries.remove(TESTER, "alice"))


def test_a_user_without_a_wallet_cannot_be_a_canary(own_service: Service) -> None:
    with pytest.raises(WalletNotFound):
        complete(own_service.services.canaries.add(TESTER, "nobody"))
