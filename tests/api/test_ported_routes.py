"""The ported service's routes: one handler behind two paths, with the same scope, seal, limit and audit."""

from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

from calling import Service, serving
from kms_endpoint import KmsEndpoint
from wiring import FreshDatabase, settings_for

numbers = count(1)
VERIFIER = "platform-verifier"


@pytest.fixture(scope="module")
def platform(fresh_database: FreshDatabase) -> Iterator[Service]:
    """A service that knows the platform's wallet."""
    with fresh_database() as url, KmsEndpoint() as endpoint:
        endpoint.add_pool("Empressa-wallet-key", 10)
        settings = settings_for(url, endpoint, platform_verifier_user_id=VERIFIER)
        with serving(settings, endpoint) as service:
            yield service


def test_a_private_key_is_read_on_both_paths(service: Service) -> None:
    user = f"ported-{next(numbers)}"
    wallet = service.create(user).json()
    ours = service.call("GET", f"/wallets/{user}/private-key")
    theirs = service.call("GET", f"/wallets/users/{user}/private-key")
    assert theirs.status_code == 200
    assert theirs.json() == ours.json()
    assert theirs.json()["walletAddress"] == wallet["walletAddress"]
    assert theirs.headers["cache-control"] == "no-store"
    events = service.call("GET", "/audit/events", params={"userId": user}).json()["events"]
    assert [each["action"] for each in events] == ["private_key.read", "private_key.read", "wallet.create"]


def test_neither_path_answers_without_a_token(service: Service) -> None:
    for path in ("/wallets/users/a/private-key", "/wallets/platform/verifier-private-key", "/kms/status"):
        answer = service.client.get(path)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")


def test_both_paths_stop_at_the_seal_and_share_one_limit(own_service: Service) -> None:
    own_service.create("alice")
    own_service.call("POST", "/seal", json={"reason": "a drill"})
    for path in ("/wallets/alice/private-key", "/wallets/users/alice/private-key"):
        answer = own_service.call("GET", path)
        assert (answer.status_code, answer.json()["code"]) == (503, "sealed")


def test_the_platform_key_is_that_of_the_users_wallet(platform: Service) -> None:
    path = "/wallets/platform/verifier-private-key"
    answer = platform.call("GET", path)
    assert (answer.status_code, answer.json()["code"]) == (404, "wallet_not_found")
    wallet = platform.create(VERIFIER).json()
    answer = platform.call("GET", path)
    assert answer.json() == platform.call("GET", f"/wallets/{VERIFIER}/private-key").json()
    assert answer.json()["walletAddress"] == wallet["walletAddress"]
    events = platform.call("GET", "/audit/events", params={"userId": VERIFIER}).json()["events"]
    assert events[0]["action"] == "private_key.read"


def test_without_the_setting_there_is_no_platform_key(service: Service) -> None:
    answer = service.call("GET", "/wallets/platform/verifier-private-key")
    assert (answer.status_code, answer.json()["code"]) == (404, "wallet_not_found")


def test_the_pool_has_both_names_and_both_schedules(service: Service) -> None:
    ours: dict[str, Any] = service.call("GET", "/kms/pool").json()
    theirs = service.call("GET", "/kms/status").json()
    assert theirs == ours
    schedule = theirs["rotationSchedule"]
    assert schedule["enabled"] is schedule["automatic"]
    days = schedule["periodInDays"]
    assert schedule["intervalMonths"] == (None if days is None else round(days * 12 / 365))
    assert theirs["keys"][0].keys() >= {"keyId", "alias", "region", "status", "creationDate", "lastUsedDate"}
