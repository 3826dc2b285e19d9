"""The seal: no release and no signature on any replica within two seconds, while wallets are created."""

import base64
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from calling import Service, make_token, serving
from event_loop import complete
from kms_endpoint import Hang
from kms_service.access.scopes import Scope

RECIPIENT = base64.b64encode(b"\x09" * 32).decode()
RELEASES = {
    "read": ("GET", "/wallets/alice/private-key", None),
    "export": ("POST", "/wallets/alice/private-key/export", {"recipientPublicKey": RECIPIENT}),
    "message": ("POST", "/wallets/alice/sign/message", {"message": "hello"}),
    "typed data": (
        "POST",
        "/wallets/alice/sign/typed-data",
        {
            "domain": {"name": "test"},
            "types": {"Greeting": [{"name": "text", "type": "string"}]},
            "primaryType": "Greeting",
            "message": {"text": "hello"},
        },
    ),
    "transaction": (
        "POST",
        "/wallets/alice/sign/transaction",
        {
            "transaction": {
                "chainId": 1, "nonce": 0, "gas": 21000, "gasPrice": 1, "value": 1,
                "to": "0x00000000000000000000000000000000000000ff",
            }
        },
    ),
}  # fmt: skip


def _release(service: Service, what: str) -> int:
    method, path, body = RELEASES[what]
    answer = service.call(method, path, json=body) if body else service.call(method, path)
    assert answer.status_code != 503 or answer.json()["code"] == "sealed"
    return answer.status_code


def _seal(service: Service, reason: str = "a drill") -> None:
    assert service.call("POST", "/seal", json={"reason": reason}).status_code == 200


def _metric(service: Service) -> str:
    lines = service.client.get("/metrics").text.splitlines()
    return next(line for line in lines if line.startswith("kms_service_sealed "))


def test_nothing_leaves_while_sealed_and_wallets_are_created(own_service: Service) -> None:
    own_service.create("alice")
    assert {what: _release(own_service, what) for what in RELEASES} == dict.fromkeys(RELEASES, 200)
    _seal(own_service)
    decrypts = own_service.kms.count("Decrypt")
    assert {what: _release(own_service, what) for what in RELEASES} == dict.fromkeys(RELEASES, 503)
    assert own_service.kms.count("Decrypt") == decrypts
    refused = own_service.call("GET", "/wallets/nobody/private-key")
    assert (refused.status_code, refused.json()["code"]) == (503, "sealed")
    assert "Retry-After" in refused.headers
    assert own_service.create("bob").status_code == 201
    assert own_service.call("GET", "/wallets/bob").status_code == 200
    refused = own_service.call("POST", "/unseal")
    assert (refused.status_code, refused.json()["code"]) == (403, "not_authorized")
    own_service.unseal()
    assert {what: _release(own_service, what) for what in RELEASES} == dict.fromkeys(RELEASES, 200)


def test_the_seal_shows_in_its_route_readiness_and_metrics(own_service: Service) -> None:
    ready = own_service.client.get("/readyz")
    assert (ready.status_code, ready.json()["checks"]["releases"]) == (200, "ok")
    assert own_service.call("GET", "/seal").json() == {
        "sealed": False, "reason": None, "actor": None, "changedAt": None,
    }  # fmt: skip
    _seal(own_service)
    ready = own_service.client.get("/readyz")
    assert (ready.status_code, ready.json()["checks"]["releases"]) == (200, "sealed")
    assert _metric(own_service) == "kms_service_sealed 1.0"
    state = own_service.call("GET", "/seal").json()
    assert (state["sealed"], state["reason"]) == (True, "a drill")
    assert state["actor"].startswith("caller-")
    own_service.unseal()
    assert _metric(own_service) == "kms_service_sealed 0.0"
    assert own_service.client.get("/readyz").json()["checks"]["releases"] == "ok"


def test_sealing_and_unsealing_are_on_record(own_service: Service) -> None:
    own_service.create("alice")
    _seal(own_service, "keys may have leaked")
    _release(own_service, "read")
    own_service.unseal()
    events = own_service.call("GET", "/audit/events", params={"limit": 4}).json()["events"]
    opened = [event for event in events if event["action"] == "audit.open"]  # the chain of the operator
    assert len(opened) == 1
    assert [
        (event["action"], event["outcome"], event["detail"]) for event in events if event not in opened
    ] == [
        ("seal.open", "ok", "2"),
        ("private_key.read", "sealed", None),
        ("seal.close", "ok", "1: keys may have leaked"),
    ]


def test_another_replica_obeys_within_two_seconds(own_service: Service) -> None:
    own_service.create("alice")
    with serving(own_service.services.settings, own_service.kms) as other:
        assert _release(other, "read") == 200
        _seal(own_service)
        other.clock.pass_by(2)
        assert _release(other, "read") == 503
        assert _release(other, "message") == 503


def test_a_replica_that_does_not_poll_obeys_too(own_service: Service, database_url: str) -> None:
    """What the guard knows is never older than a second and a half: after that it asks again."""
    own_service.create("alice")
    for work in own_service.services.background:
        complete(work.stop())
    assert _release(own_service, "read") == 200
    with psycopg.connect(database_url) as connection:
        connection.execute("INSERT INTO seal_changes (sealed, actor) VALUES (true, 'somebody')")
    own_service.clock.pass_by(1.6)
    assert _release(own_service, "read") == 503


def test_a_release_under_way_is_stopped_before_it_leaves(own_service: Service) -> None:
    own_service.create("alice")
    with ThreadPoolExecutor(1) as executor:
        with own_service.kms.on("Decrypt").answer(Hang()):
            under_way = executor.submit(_release, own_service, "read")
            own_service.kms.wait_for(1, "Decrypt")
            _seal(own_service)
        assert under_way.result() == 503


@pytest.mark.parametrize("reason", [None, "", "   ", "x" * 501, "\0"])
def test_a_seal_needs_a_reason(service: Service, reason: str | None) -> None:
    assert service.call("POST", "/seal", json={"reason": reason}).status_code == 422


def test_only_a_pool_admin_may_seal(service: Service) -> None:
    token = make_token(service.services, *(scope for scope in Scope if scope is not Scope.POOL_ADMIN))
    assert service.call("POST", "/seal", token=token, json={"reason": "x"}).status_code == 403
    assert service.call("POST", "/unseal", token=token).status_code == 403
    assert service.call("GET", "/seal", token=token).json()["sealed"] is False
