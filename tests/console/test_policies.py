"""The page about policies: what is in force, how full each window is, and which rule refused what."""

import re

from calling import ALL, Service, make_token
from event_loop import complete
from kms_service.access.scopes import Scope
from policies.requests import MERCHANT, SHIPPED, STRANGER, ask, transaction
from wiring import TESTER


def _text(console: Service, token: str) -> str:
    answer = console.call("GET", "/console/policies", token=token)
    assert answer.status_code == 200
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    body = re.sub(r"(?s)<style>.*?</style>", "", answer.text)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", body))


def test_the_page_shows_policies_windows_and_refusals(console: Service) -> None:
    looker = make_token(console.services, Scope.POOL_READ)
    empty = _text(console, looker)
    assert "There is no policy yet" in empty
    assert "None yet." in empty
    complete(console.services.policies.set(TESTER, "checkout", (SHIPPED / "checkout.json").read_bytes()))
    made = complete(
        console.services.tokens.create(
            TESTER,
            "till",
            ALL,
            expires_in=None,
            private_key_reads_per_minute=None,
            signatures_per_minute=None,
            policy="checkout",
        )
    )
    console.create("shop-1")
    for recipient in (MERCHANT, STRANGER, STRANGER):
        ask(console, made.secret, "shop-1", "sign.transaction", transaction(to=recipient))
    text = _text(console, looker)
    assert "checkout version 1" in text
    assert "pay-merchants: value per day wallet shop-1 100000000000000000 of 1000000000000000000" in text
    assert re.search(r"checkout 1 pay-merchants 2 \S+ \S+ till not met: to", text)


def test_the_page_needs_the_scope_to_look(console: Service) -> None:
    door = console.call("GET", "/console/policies", token="")
    assert (door.status_code, 'action="../console"' in door.text) == (401, True)
    other = make_token(console.services, Scope.AUDIT_READ)
    assert console.call("GET", "/console/policies", token=other).status_code == 403


def test_the_overview_leads_to_it(console: Service) -> None:
    looker = make_token(console.services, Scope.POOL_READ)
    assert 'href="console/policies"' in console.call("GET", "/console", token=looker).text
