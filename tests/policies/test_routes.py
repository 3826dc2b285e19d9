"""Policies over HTTP: dry runs, the routes that show them, and how soon a change takes effect."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from calling import Service, make_token
from event_loop import complete
from kms_service.access.scopes import Scope
from policies.requests import ETHER, MERCHANT, ROUTES, SHIPPED, STRANGER, USDC, ask, transaction
from policies.test_judging import TRANSFER, call
from waiting import wait_until
from wiring import TESTER

CHECKOUT = (SHIPPED / "checkout.json").read_bytes()


def foresee(service: Service, token: str, user: str, action: str, body: Any) -> Any:
    path = f"/wallets/{user}/{ROUTES[action]}?dryRun=true"
    return service.call("POST", path, token=token, json=body)


def test_a_dry_run_names_the_rule_and_changes_nothing(service: Service, stolen: str, shopper: str) -> None:
    half = transaction(value=ETHER // 2)
    foresee(service, stolen, shopper, "sign.transaction", half)  # a process unwraps the MACs' key once
    decrypts, events = service.kms.count("Decrypt"), _events(service, shopper)
    for _ in range(5):
        answer = foresee(service, stolen, shopper, "sign.transaction", half)
        assert answer.status_code == 200
        told = answer.json()
        assert told.keys() == {"allowed", "policy", "version", "rule", "reason"}
        assert (told["allowed"], told["version"], told["rule"], told["reason"]) == (
            True,
            1,
            "pay-merchants",
            None,
        )
    assert (service.kms.count("Decrypt"), _events(service, shopper)) == (decrypts, events)
    for _ in range(2):
        assert ask(service, stolen, shopper, "sign.transaction", half).status_code == 200
    full = foresee(service, stolen, shopper, "sign.transaction", half).json()
    assert (full["allowed"], full["rule"], full["reason"]) == (
        False,
        "pay-merchants",
        "no room: value per day and wallet",
    )


def _events(service: Service, user: str) -> int:
    return len(service.call("GET", f"/audit/events?userId={user}").json()["events"])


@pytest.mark.parametrize(
    ("action", "body", "rule"),
    [
        ("sign.message", {"message": "hello"}, "sign-in"),
        ("sign.transaction", transaction(to=STRANGER), "pay-merchants"),
        ("sign.authorization", {"chainId": 1, "address": STRANGER, "nonce": 0}, None),
    ],
)
def test_a_dry_run_says_what_would_be_refused(
    service: Service, stolen: str, shopper: str, action: str, body: Any, rule: str | None
) -> None:
    told = foresee(service, stolen, shopper, action, body).json()
    assert (told["allowed"], told["rule"]) == (False, rule)
    assert told["reason"]


def test_a_dry_run_without_a_policy_allows(service: Service, shopper: str) -> None:
    told = foresee(service, service.token, shopper, "sign.message", {"message": "hello"}).json()
    assert told == {"allowed": True, "policy": None, "version": None, "rule": None, "reason": None}


def test_a_dry_run_is_validated_as_strictly(service: Service, stolen: str, shopper: str) -> None:
    assert foresee(service, stolen, shopper, "sign.message", {"message": 1}).status_code == 422
    assert foresee(service, stolen, "shop-nobody", "sign.transaction", transaction()).status_code == 404
    looker = make_token(service.services, Scope.WALLETS_READ)
    assert foresee(service, looker, shopper, "sign.message", {"message": "x"}).status_code == 403
    path = f"/wallets/{shopper}/private-key?dryRun=true"
    assert service.call("GET", path, token=stolen).status_code == 422


def test_policies_are_shown_with_their_documents(
    service: Service, set_policy: Callable[[bytes], str]
) -> None:
    name = set_policy(CHECKOUT)
    looker = make_token(service.services, Scope.POOL_READ)
    listed = service.call("GET", "/policies", token=looker).json()["policies"]
    (summary,) = [each for each in listed if each["name"] == name]
    assert summary.keys() == {"name", "version", "setBy", "setAt"}
    view = service.call("GET", f"/policies/{name}", token=looker).json()
    assert view == {**summary, "document": json.loads(CHECKOUT)}
    other = make_token(service.services, Scope.POOL_ADMIN)
    for path in ("/policies", f"/policies/{name}", f"/policies/{name}/usage"):
        assert service.call("GET", path, token=other).status_code == 403
    assert service.call("GET", "/policies/none-such").json()["code"] == "policy_not_found"
    assert service.call("GET", "/policies/none-such/usage").json()["code"] == "policy_not_found"


def test_the_use_of_windows_is_shown_in_pages(
    service: Service,
    set_policy: Callable[[bytes], str],
    token_under: Callable[[str], str],
    shopper: str,
) -> None:
    name = set_policy(CHECKOUT)
    token = token_under(name)
    assert service.call("GET", f"/policies/{name}/usage").json() == {"windows": [], "nextCursor": None}
    assert ask(service, token, shopper, "sign.transaction", transaction()).status_code == 200
    assert ask(service, token, shopper, "sign.transaction", call(TRANSFER, MERCHANT, 7)).status_code == 200
    pages: list[Any] = []
    cursor: str | None = ""
    while cursor is not None:
        page = service.call("GET", f"/policies/{name}/usage?limit=3{cursor}").json()
        pages.append(page["windows"])
        cursor = page["nextCursor"] and f"&cursor={page['nextCursor']}"
    windows = [window for page in pages for window in page]
    assert [len(page) for page in pages] == [3, 3, 2]
    used = {(window["rule"], window["measure"], window["of"]): window for window in windows}
    assert used["pay-merchants", "value", "wallet"] == {
        "rule": "pay-merchants",
        "measure": "value",
        "per": "day",
        "of": "wallet",
        "subject": shopper,
        "chainId": None,
        "contract": None,
        "used": str(ETHER // 10),
        "max": str(ETHER),
    }
    amount = used["pay-usdc", "call.amount", "wallet"]
    assert (amount["chainId"], amount["contract"], amount["used"]) == ("1", USDC, "7")


@pytest.mark.parametrize("cursor", ["x", "bnVsbA", "WyJhIl0", "WyJhIiwiYiIsImMiLCJcdTAwMDAiXQ"])
def test_a_made_up_cursor_is_refused(
    service: Service, set_policy: Callable[[bytes], str], cursor: str
) -> None:
    name = set_policy(b'{"rules": []}')
    answer = service.call("GET", f"/policies/{name}/usage?cursor={cursor}")
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "query.cursor")


def test_a_new_version_and_another_policy_act_within_seconds(
    service: Service,
    set_policy: Callable[[bytes], str],
    token_under: Callable[[str], str],
    shopper: str,
) -> None:
    name, other = set_policy(CHECKOUT), set_policy(b'{"rules": []}')
    token = token_under(name)
    payment = transaction(value=1)
    assert ask(service, token, shopper, "sign.transaction", payment).status_code == 200

    def wait_for_status(status: int) -> None:
        # By what is foreseen, since asking in earnest would use up the policy's windows.
        allowed = status == 200
        wait_until(
            lambda: foresee(service, token, shopper, "sign.transaction", payment).json()["allowed"] is allowed
        )
        assert ask(service, token, shopper, "sign.transaction", payment).status_code == status

    complete(service.services.policies.set(TESTER, name, b'{"rules": [ ]}'))
    wait_for_status(403)
    complete(service.services.policies.set(TESTER, name, CHECKOUT))
    wait_for_status(200)
    (row,) = [row for row in complete(service.services.tokens.list_all()) if row.policy == name]
    complete(service.services.tokens.set_policy(TESTER, row.name, other))
    wait_for_status(403)
    complete(service.services.tokens.set_policy(TESTER, row.name, None))
    wait_for_status(200)


def test_setting_the_same_document_makes_no_version(
    service: Service, set_policy: Callable[[bytes], str]
) -> None:
    name = set_policy(CHECKOUT)
    again = complete(service.services.policies.set(TESTER, name, CHECKOUT))
    assert (again.created, again.row.version) == (False, 1)
    changed = complete(service.services.policies.set(TESTER, name, CHECKOUT + b"\n"))
    assert (changed.created, changed.row.version) == (True, 2)
    events = service.call("GET", "/audit/events?action=policy.set").json()["events"]
    details = [event["detail"] for event in events if event["detail"].startswith(f"{name} ")]
    assert [detail.split(" ")[1] for detail in details] == ["2", "1"]
