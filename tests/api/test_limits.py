"""Limits per minute: counted in PostgreSQL for all replicas together, exact under any concurrency."""

import base64
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import psycopg
import pytest

from calling import ALL, Service, serving
from event_loop import complete, enter
from kms_endpoint import Error
from kms_service.access.limits import LimitedUse
from kms_service.store.access import uses as token_uses
from kms_service.store.access.uses import SECONDS, TokenUseStore
from wiring import TESTER

_numbers = count(1)


def _make_limited_token(service: Service, *, reads: int | None = None, signatures: int | None = None) -> str:
    made = complete(
        service.services.tokens.create(
            TESTER,
            f"limited-{next(_numbers)}",
            ALL,
            expires_in=None,
            private_key_reads_per_minute=reads,
            signatures_per_minute=signatures,
            policy=None,
        )
    )
    return made.secret


def _read(service: Service, token: str, user: str = "alice") -> int:
    return service.call("GET", f"/wallets/{user}/private-key", token=token).status_code


def _sign(service: Service, token: str) -> int:
    answer = service.call("POST", "/wallets/alice/sign/message", token=token, json={"message": "hello"})
    return answer.status_code


def test_of_forty_reads_at_once_a_limit_of_ten_lets_ten_through(service: Service) -> None:
    service.create("alice")
    token = _make_limited_token(service, reads=10)
    with ThreadPoolExecutor(40) as executor:
        statuses = Counter(executor.map(lambda _: _read(service, token), range(40)))
    assert statuses == {200: 10, 429: 30}


def test_two_replicas_share_a_limit(own_service: Service) -> None:
    own_service.create("alice")
    token = _make_limited_token(own_service, reads=10)
    with (
        serving(own_service.services.settings, own_service.kms) as other,
        ThreadPoolExecutor(20) as executor,
    ):
        replicas = [own_service, other] * 10
        statuses = Counter(executor.map(lambda replica: _read(replica, token), replicas))
    assert statuses == {200: 10, 429: 10}


def test_a_limit_outlives_a_restart(own_service: Service) -> None:
    own_service.create("alice")
    token = _make_limited_token(own_service, reads=1)
    assert _read(own_service, token) == 200
    with serving(own_service.services.settings, own_service.kms) as restarted:
        assert _read(restarted, token) == 429


def test_a_refusal_says_when_to_come_back_and_is_on_record(service: Service) -> None:
    service.create("alice")
    token = _make_limited_token(service, reads=1)
    _read(service, token)
    answer = service.call("GET", "/wallets/alice/private-key", token=token)
    assert answer.status_code == 429
    assert answer.json()["code"] == "rate_limited"
    assert answer.json()["detail"] == "This token's limit is reached: 1 private-key reads a minute."
    assert 55 <= int(answer.headers["Retry-After"]) <= SECONDS
    wanted = {"userId": "alice", "action": "private_key.read", "limit": 1}
    event = service.call("GET", "/audit/events", params=wanted).json()["events"][0]
    assert (event["outcome"], event["requestId"]) == ("rate_limited", answer.headers["X-Request-Id"])


def test_exports_count_as_reads_and_signatures_are_counted_apart(service: Service) -> None:
    service.create("alice")
    token = _make_limited_token(service, reads=1, signatures=2)
    key = base64.b64encode(b"\x09" * 32).decode()
    export = service.call(
        "POST", "/wallets/alice/private-key/export", token=token, json={"recipientPublicKey": key}
    )
    assert export.status_code == 200
    assert _read(service, token) == 429
    assert [_sign(service, token) for _ in range(3)] == [200, 200, 429]


def test_a_request_let_through_counts_whatever_becomes_of_it(service: Service) -> None:
    service.create("alice")
    token = _make_limited_token(service, reads=2)
    with service.kms.on("Decrypt").answer(Error("DisabledException")):
        assert _read(service, token) == 503
    assert _read(service, token, "nobody") == 404
    assert _read(service, token) == 429


def test_a_token_without_a_limit_leaves_no_trace(
    service: Service,
) -> None:
    service.create("alice")
    assert [_read(service, service.token) for _ in range(3)] == [200] * 3
    with enter(service.owner.connection()) as connection:
        names = complete(connection.exec_driver_sql("SELECT token_name FROM token_uses")).scalars().all()
    assert not [name for name in names if not name.startswith("limited-")]


def test_a_minute_slides(own_service: Service, database_url: str) -> None:
    """Seconds pass here by moving the counters into the past."""
    name = complete(
        own_service.services.tokens.create(
            TESTER,
            "limited",
            ALL,
            expires_in=None,
            private_key_reads_per_minute=3,
            signatures_per_minute=None,
            policy=None,
        )
    ).row.name
    uses = TokenUseStore(own_service.services.database)

    def take() -> int | None:
        return complete(uses.take(name, LimitedUse.PRIVATE_KEY_READ, 3))

    def pass_seconds(seconds: int) -> None:
        with psycopg.connect(database_url) as connection:
            connection.execute("UPDATE token_uses SET second = second - %s", (seconds,))

    assert take() is None
    pass_seconds(30)
    assert [take(), take()] == [None, None]
    assert take() in {SECONDS - 30, SECONDS - 31}
    pass_seconds(29)
    assert take() is not None
    pass_seconds(2)
    assert take() is None
    # Now two are half a minute old and one is fresh.
    assert take() in range(SECONDS - 33, SECONDS - 29)
    pass_seconds(3600)
    assert [take(), take(), take()] == [None] * 3
    assert take() in {SECONDS, SECONDS - 1}


@pytest.mark.parametrize(
    ("counts", "passed", "limit", "seconds"),
    [
        ([3], 0, 3, 61),
        ([3], 60, 3, 1),
        ([1, 0, 1, 5], 0, 2, 59),
        ([0, 0, 2], 10, 1, 49),
        ([1], 61, 3, 1),
    ],
)
def test_the_wait_is_until_the_use_that_is_one_too_many_slides_out(
    counts: list[int], passed: int, limit: int, seconds: int
) -> None:
    assert token_uses._seconds_to_wait(counts, passed, limit) == seconds
