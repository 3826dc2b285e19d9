"""A stolen token with the checkout policy, in the hands of somebody who knows everything but the KMS keys.

Against the running service: whatever the attacker tries, no more than the policy's windows leaves, and to
none but its recipients.
"""

import json
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from eth_account import Account
from eth_account.typed_transactions import TypedTransaction
from hexbytes import HexBytes

from calling import Service, make_token, serving
from event_loop import complete
from kms_service.access.scopes import Scope
from kms_service.service.policies import in_force
from kms_service.service.policies.in_force import REMEMBERED_SECONDS
from policies.requests import ETHER, MERCHANT, SHIPPED, STRANGER, ask, transaction
from wiring import TESTER

REST = "document, set_by, set_at, mac, mac_key_id FROM policies"
CASES = json.loads((SHIPPED / "cases" / "checkout.json").read_text())


@pytest.mark.parametrize("case", CASES, ids=[case["case"] for case in CASES])
def test_every_trick_of_the_checkout_cases(
    service: Service, stolen: str, shopper: str, case: dict[str, Any]
) -> None:
    user = shopper if case["userId"].startswith("shop-") else f"other-{shopper}"
    if user != shopper:
        service.create(user)
    before = service.kms.count("Decrypt")
    answer = ask(service, stolen, user, case["action"], case.get("body"))
    if case["allowedBy"]:
        assert answer.status_code == 200, answer.text
        return
    assert (answer.status_code, answer.json()["code"]) == (403, "policy_denied"), answer.text
    assert service.kms.count("Decrypt") == before  # refused before KMS is asked


def test_many_payments_at_once_move_no_more_than_the_window(
    service: Service, stolen: str, shopper: str
) -> None:
    """Forty payments of 0.1 ether at once, over connections of their own: the day's window holds ten."""
    with ThreadPoolExecutor(20) as pool:
        answers = list(
            pool.map(
                lambda nonce: ask(service, stolen, shopper, "sign.transaction", transaction(nonce=nonce)),
                range(40),
            )
        )
    signed = [answer for answer in answers if answer.status_code == 200]
    refused = Counter(answer.json().get("code") for answer in answers if answer.status_code != 200)
    assert len(signed) == 10
    assert refused == {"policy_denied": 30}
    assert sum(_value(answer.json()["rawTransaction"]) for answer in signed) == ETHER


def _value(raw: str) -> int:
    fields = TypedTransaction.from_bytes(HexBytes(raw)).as_dict()
    return int(fields["value"])


def test_replicas_and_restarts_count_together(service: Service, stolen: str, shopper: str) -> None:
    """Two replicas, and one that was not there when the first payments were signed."""
    half = transaction(value=ETHER // 4)
    with serving(service.services.settings, service.kms, service.token) as replica:
        with ThreadPoolExecutor(4) as pool:
            both = [service, replica] * 2
            answers = list(pool.map(lambda each: ask(each, stolen, shopper, "sign.transaction", half), both))
        assert [answer.status_code for answer in answers] == [200] * 4
    with serving(service.services.settings, service.kms, service.token) as restarted:
        refused = ask(restarted, stolen, shopper, "sign.transaction", transaction(value=1))
    assert refused.json()["code"] == "policy_denied"
    assert refused.json()["detail"].endswith("no room: value per day and wallet.")


def test_the_fee_drains_no_more_than_its_window(service: Service, stolen: str, shopper: str) -> None:
    """Payments of nothing, each with the highest fee that the policy lets pass."""
    highest = {
        "value": 0,
        "gas": 21000,
        "maxFeePerGas": 10**16 // 21000,
        "maxPriorityFeePerGas": 10**16 // 21000,
    }
    statuses = [
        ask(service, stolen, shopper, "sign.transaction", transaction(**highest, nonce=nonce)).status_code
        for nonce in range(5)
    ]
    assert statuses == [200, 200, 200, 403, 403]


def test_the_edge_of_a_window_gives_nothing_away(service: Service, stolen: str, shopper: str) -> None:
    """What was taken a moment less than a day ago still counts; a day and a slot later it does not."""
    half = transaction(value=ETHER // 2)
    assert ask(service, stolen, shopper, "sign.transaction", half).status_code == 200
    assert ask(service, stolen, shopper, "sign.transaction", half).status_code == 200
    url = service.services.settings.database_url.get_secret_value()

    def later(slots: int) -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(
                "UPDATE policy_windows SET slot = slot - %s"
                " WHERE subject = %s AND starts_with(window_name, 'value')",
                (slots, shopper),
            )

    later(96)
    assert ask(service, stolen, shopper, "sign.transaction", half).status_code == 403
    later(1)
    assert ask(service, stolen, shopper, "sign.transaction", half).status_code == 200


def test_a_refusal_names_policy_version_and_nearest_rule_and_repeats_nothing(
    service: Service, stolen: str, shopper: str
) -> None:
    answer = ask(service, stolen, shopper, "sign.transaction", transaction(to=STRANGER))
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert (problem["status"], problem["code"], problem["version"], problem["rule"]) == (
        403,
        "policy_denied",
        1,
        "pay-merchants",
    )
    assert problem["detail"] == f"The policy {problem['policy']} does not allow this: not met: to."
    nothing = ask(service, stolen, shopper, "private_key.read", None).json()
    assert nothing["rule"] is None


def test_a_refusal_is_on_record(service: Service, stolen: str, shopper: str) -> None:
    ask(service, stolen, shopper, "sign.transaction", transaction(to=STRANGER))
    events = service.call("GET", f"/audit/events?userId={shopper}&outcome=policy_denied").json()["events"]
    assert [(event["action"], event["outcome"]) for event in events] == [
        ("sign.transaction", "policy_denied")
    ]
    assert events[0]["detail"].endswith("pay-merchants: not met: to")


def test_a_refusal_does_not_reveal_who_has_a_wallet(service: Service, stolen: str) -> None:
    """Refused by the rules, a user without a wallet looks like one with a wallet."""
    answer = ask(service, stolen, "shop-nobody", "sign.transaction", transaction(to=STRANGER))
    assert answer.json()["code"] == "policy_denied"
    assert ask(service, stolen, "shop-nobody", "sign.transaction", transaction()).status_code == 404


def test_a_refused_signature_takes_nothing_from_the_window(
    service: Service, stolen: str, shopper: str
) -> None:
    """A payment that names another sender takes nothing from the window."""
    for _ in range(3):
        body = transaction(value=ETHER // 2)
        body["transaction"]["from"] = STRANGER
        assert ask(service, stolen, shopper, "sign.transaction", body).status_code == 422
    half = transaction(value=ETHER // 2)
    assert [ask(service, stolen, shopper, "sign.transaction", half).status_code for _ in range(3)] == [
        200,
        200,
        403,
    ]


def test_a_token_without_the_scope_delegates_nothing(service: Service, shopper: str) -> None:
    signer = make_token(service.services, Scope.WALLETS_SIGN)
    consent = {"chainId": 1, "address": STRANGER, "nonce": 0}
    assert ask(service, signer, shopper, "sign.authorization", consent).json()["code"] == "not_authorized"
    signed = ask(service, service.token, shopper, "sign.authorization", consent).json()["authorization"]
    body = transaction(authorizationList=[signed])
    refused = ask(service, signer, shopper, "sign.transaction", body)
    assert (refused.status_code, refused.json()["code"]) == (403, "not_authorized")
    assert "wallets:delegate" in refused.json()["detail"]
    assert ask(service, service.token, shopper, "sign.transaction", body).status_code == 200


def test_an_authorization_is_signed_by_the_wallet_itself(service: Service, shopper: str) -> None:
    consent = {"chainId": 1, "address": MERCHANT, "nonce": 7}
    answer = ask(service, service.token, shopper, "sign.authorization", consent).json()
    assert {name: answer["authorization"][name] for name in consent} == consent
    assert answer["walletAddress"] == service.call("GET", f"/wallets/{shopper}").json()["walletAddress"]
    signed = answer["authorization"]
    digest = HexBytes(answer["authorizationHash"])
    vrs = (27 + signed["yParity"], int(signed["r"], 16), int(signed["s"], 16))
    assert Account._recover_hash(digest, vrs=vrs) == answer["walletAddress"]


def test_a_rewritten_policy_allows_nothing(
    service: Service, set_policy: Callable[[bytes], str], token_under: Callable[..., str], shopper: str
) -> None:
    """The database's owner widens the policy of a token that they hold."""
    checkout = (SHIPPED / "checkout.json").read_bytes()
    token = token_under(set_policy(checkout))
    name = _policy_of(service, token, shopper)
    wide = checkout.decode().replace(MERCHANT, STRANGER)
    _as_owner(service, "UPDATE policies SET document = %s WHERE name = %s", (wide, name))
    _forget(service)
    refused = ask(service, token, shopper, "sign.transaction", transaction(to=STRANGER))
    assert (refused.status_code, refused.json()["code"]) == (500, "integrity_failure")
    assert ask(service, token, shopper, "sign.transaction", transaction()).status_code == 500


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE policies SET name = %(name)s, version = 99 WHERE name = %(other)s",
        f"INSERT INTO policies SELECT %(name)s, 99, {REST} WHERE name = %(other)s",
        f"INSERT INTO policies SELECT name, 99, {REST} WHERE name = %(name)s AND version = 1",
        "DELETE FROM policies WHERE name = %(name)s",
        "DELETE FROM policies WHERE name = %(name)s AND version = 2",
    ],
    ids=["renamed", "another policy's row", "an old version again", "deleted", "rolled back"],
)
def test_a_row_that_was_moved_allows_nothing(
    service: Service,
    set_policy: Callable[[bytes], str],
    token_under: Callable[..., str],
    shopper: str,
    change: str,
) -> None:
    wide = (SHIPPED / "checkout.json").read_bytes().replace(MERCHANT.encode(), STRANGER.encode())
    name, other = set_policy(wide), set_policy(wide)
    complete(service.services.policies.set(TESTER, name, (SHIPPED / "checkout.json").read_bytes()))
    token = token_under(name)
    assert ask(service, token, shopper, "sign.transaction", transaction(to=STRANGER)).status_code == 403
    _as_owner(service, change, {"name": name, "other": other})
    _forget(service)
    for recipient in (STRANGER, MERCHANT):
        answer = ask(service, token, shopper, "sign.transaction", transaction(to=recipient))
        assert (answer.status_code, answer.json()["code"]) == (500, "integrity_failure")


def test_a_process_that_has_seen_no_newer_version_asks_the_log(
    service: Service,
    set_policy: Callable[[bytes], str],
    token_under: Callable[..., str],
    shopper: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All replicas restart after the newest version was deleted; the one before has a valid MAC."""
    wide = (SHIPPED / "checkout.json").read_bytes().replace(MERCHANT.encode(), STRANGER.encode())
    name = set_policy(wide)
    complete(service.services.policies.set(TESTER, name, (SHIPPED / "checkout.json").read_bytes()))
    token = token_under(name)
    _as_owner(service, "DELETE FROM policies WHERE name = %(name)s AND version = 2", {"name": name})
    monkeypatch.setattr(in_force, "SETTING_SECONDS", 0.0)
    with serving(service.services.settings, service.kms, service.token) as restarted:
        refused = ask(restarted, token, shopper, "sign.transaction", transaction(to=STRANGER))
    assert (refused.status_code, refused.json()["code"]) == (500, "integrity_failure")


def _policy_of(service: Service, token: str, user: str) -> str:
    problem = ask(service, token, user, "private_key.read", None).json()
    name: str = problem["policy"]
    return name


def _as_owner(service: Service, statement: str, parameters: Any) -> None:
    url = service.services.settings.database_url.get_secret_value()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ALTER TABLE policies DISABLE TRIGGER USER")
        connection.execute(statement, parameters)
        connection.execute("ALTER TABLE policies ENABLE TRIGGER USER")


def _forget(service: Service) -> None:
    """Let the time pass for which a process remembers what it has read."""
    service.clock.pass_by(REMEMBERED_SECONDS)
