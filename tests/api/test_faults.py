"""What a caller is answered when KMS, PostgreSQL or the audit log fails; nothing is left behind."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import psycopg
import pytest
from httpx import Response

from calling import Service, make_token, serving
from event_loop import complete, enter
from kms_endpoint import (
    Delay,
    Empty,
    Error,
    Fault,
    FlippedPlaintext,
    Garbage,
    Hang,
    KmsEndpoint,
    LostReply,
    OtherKeyId,
    Reset,
    ShortPlaintext,
    Status,
    Truncated,
)
from kms_service.access.scopes import Scope
from kms_service.settings import Settings
from waiting import wait_until
from wiring import FreshDatabase, settings_for

OTHER = "arn:aws:kms:eu-central-1:111122223333:key/00000000-0000-4000-8000-000000000000"

# fault on every call: what a create answers, what a private-key read answers
FAULTS: dict[str, tuple[Fault, str, str]] = {
    "DisabledException": (Error("DisabledException"), "no_usable_key", "kms_key_unusable"),
    "KMSInvalidStateException": (Error("KMSInvalidStateException"), "no_usable_key", "kms_key_unusable"),
    "NotFoundException": (Error("NotFoundException"), "no_usable_key", "kms_key_unusable"),
    "AccessDeniedException": (Error("AccessDeniedException"), "no_usable_key", "kms_key_unusable"),
    "KMSInternalException": (Error("KMSInternalException"), "no_usable_key", "kms_unavailable"),
    "KeyUnavailableException": (Error("KeyUnavailableException"), "no_usable_key", "kms_unavailable"),
    "DependencyTimeoutException": (Error("DependencyTimeoutException"), "no_usable_key", "kms_unavailable"),
    "ThrottlingException": (Error("ThrottlingException"), "kms_throttled", "kms_throttled"),
    "LimitExceededException": (Error("LimitExceededException"), "kms_throttled", "kms_throttled"),
    "a bare 429": (Status(429), "kms_throttled", "kms_throttled"),
    "a bare 500": (Status(500), "no_usable_key", "kms_unavailable"),
    "a bare 403": (Status(403), "no_usable_key", "kms_unavailable"),
    "ExpiredTokenException": (Error("ExpiredTokenException"), "no_usable_key", "kms_unavailable"),
    "UnrecognizedClientException": (Error("UnrecognizedClientException"), "no_usable_key", "kms_unavailable"),
    "an unknown error": (Error("BrandNewException"), "no_usable_key", "kms_unavailable"),
    "InvalidCiphertextException": (
        Error("InvalidCiphertextException"),
        "no_usable_key",
        "integrity_failure",
    ),
    "IncorrectKeyException": (Error("IncorrectKeyException"), "no_usable_key", "integrity_failure"),
    "reset": (Reset(), "no_usable_key", "kms_unavailable"),
    "lost reply": (LostReply(), "no_usable_key", "kms_unavailable"),
    "garbage": (Garbage(), "no_usable_key", "kms_unavailable"),
    "empty": (Empty(), "no_usable_key", "kms_unavailable"),
    "truncated": (Truncated(), "no_usable_key", "kms_unavailable"),
    "another key's reply": (OtherKeyId(OTHER), "no_usable_key", "integrity_failure"),
    "short DEK": (ShortPlaintext(), "", "integrity_failure"),
    "flipped DEK": (FlippedPlaintext(), "", "integrity_failure"),
    "hang": (Hang(), "no_usable_key", "kms_unavailable"),
}


@pytest.fixture(scope="module")
def hasty(fresh_database: FreshDatabase) -> Iterator[Service]:
    """A service whose requests end within four seconds, so that hanging is over soon."""
    with fresh_database() as url, KmsEndpoint() as endpoint:
        endpoint.add_pool("Empressa-wallet-key", 10)
        settings = settings_for(url, endpoint, request_deadline_seconds=4.9, pool_refresh_seconds=3600)
        with serving(settings, endpoint) as service:
            service.create("reader")
            yield service


def _is(answer: Response, code: str) -> None:
    problem = answer.json()
    status = 500 if code == "integrity_failure" else 503
    assert (answer.status_code, problem["code"]) == (status, code), problem
    assert ("retry-after" in answer.headers) == (status == 503)
    assert "arn:aws" not in answer.text


@pytest.mark.parametrize("name", FAULTS)
def test_a_create_under_a_kms_fault_gives_its_documented_error(hasty: Service, name: str) -> None:
    fault, code, _ = FAULTS[name]
    user = f"create-{list(FAULTS).index(name)}"
    with hasty.kms.on("Encrypt").answer(fault):
        answer = hasty.create(user)
    if not code:
        assert answer.status_code == 201
        return
    _is(answer, code)
    assert hasty.call("GET", f"/wallets/{user}").status_code == 404
    complete(hasty.services.pool.refresh())
    assert hasty.create(user).status_code == 201


@pytest.mark.parametrize("name", FAULTS)
def test_a_private_key_read_under_a_kms_fault_gives_its_documented_error(hasty: Service, name: str) -> None:
    fault, _, code = FAULTS[name]
    with hasty.kms.on("Decrypt").answer(fault):
        answer = hasty.call("GET", "/wallets/reader/private-key")
    _is(answer, code)
    assert "privateKey" not in answer.text
    complete(hasty.services.pool.refresh())
    assert hasty.call("GET", "/wallets/reader/private-key").status_code == 200


@pytest.mark.invariant(3)
def test_every_refused_read_and_create_is_on_record(hasty: Service) -> None:
    with hasty.kms.on("Decrypt", "Encrypt").answer(Error("DisabledException")):
        hasty.call("GET", "/wallets/reader/private-key")
        hasty.create("refused")
    hasty.call("GET", "/wallets/nobody/private-key")
    complete(hasty.services.pool.refresh())
    statement = "SELECT action, outcome, user_id FROM audit_events ORDER BY id DESC LIMIT 3"
    with enter(hasty.owner.connection()) as connection:
        rows = [tuple(row) for row in complete(connection.exec_driver_sql(statement))][::-1]
    assert rows == [
        ("private_key.read", "kms_key_unusable", "reader"),
        ("wallet.create", "no_usable_key", "refused"),
        ("private_key.read", "wallet_not_found", "nobody"),
    ]


def test_a_request_that_waits_longer_than_its_deadline_is_503(
    settings: Settings, kms_endpoint: KmsEndpoint
) -> None:
    settings = settings.model_copy(update={"request_deadline_seconds": 0.5})
    with serving(settings, kms_endpoint) as service:
        service.call("GET", "/wallets")
        with psycopg.connect(settings.database_url.get_secret_value()) as holder:
            holder.execute("LOCK TABLE wallets IN ACCESS EXCLUSIVE MODE")
            answer = service.call("GET", "/wallets/anybody")
        _is(answer, "deadline_exceeded")
        assert 0.5 <= answer.elapsed.total_seconds() < 2
        assert service.call("GET", "/wallets").status_code == 200


def test_requests_beyond_the_limit_in_flight_are_refused_at_once(
    settings: Settings, kms_endpoint: KmsEndpoint
) -> None:
    changes = {"max_in_flight": 4, "kms_key_pool_size": 1}
    with serving(settings.model_copy(update=changes), kms_endpoint) as service:
        service.create("held")
        with kms_endpoint.on("Decrypt").answer(Delay(1)), ThreadPoolExecutor(20) as executor:
            asked = [executor.submit(service.call, "GET", "/wallets/held/private-key") for _ in range(20)]
            kms_endpoint.wait_for(4, "Decrypt")
            for path in ("/livez", "/readyz", "/metrics"):
                assert service.client.get(path).elapsed.total_seconds() < 0.5
            answers = [each.result() for each in asked]
        refused = [answer for answer in answers if answer.status_code != 200]
        assert len(refused) == 16
        for answer in refused:
            _is(answer, "overloaded")
            assert answer.elapsed.total_seconds() < 0.9
        assert service.call("GET", "/wallets/held/private-key").status_code == 200


@pytest.mark.invariant(3)
def test_without_an_audit_row_there_is_no_answer(own_service: Service) -> None:
    own_service.create("alice")
    refuse = "ALTER TABLE audit_events ADD CONSTRAINT refused CHECK (false) NOT VALID"
    with enter(own_service.owner.connection()) as connection:
        complete(connection.exec_driver_sql(refuse))
    answer = own_service.call("GET", "/wallets/alice/private-key")
    _is(answer, "audit_unavailable")
    assert "0x" not in answer.text
    # The wallet and its audit row are one statement: neither is there.
    assert own_service.create("bob").status_code == 503
    assert own_service.call("GET", "/wallets/bob").status_code == 404
    assert own_service.call("GET", "/wallets/alice").status_code == 200
    with enter(own_service.owner.connection()) as connection:
        complete(connection.exec_driver_sql("ALTER TABLE audit_events DROP CONSTRAINT refused"))
    assert own_service.call("GET", "/wallets/alice/private-key").status_code == 200
    assert own_service.create("bob").status_code == 201


@pytest.mark.invariant(3)
def test_without_a_key_for_the_audit_chain_nothing_is_released(own_service: Service) -> None:
    """A replica that starts while no key wraps can open wallets, and may not hand one out."""
    own_service.create("alice")
    kms = own_service.kms
    with ExitStack() as stack:
        with kms.on("Encrypt").answer(Error("AccessDeniedException")):
            other = stack.enter_context(serving(own_service.services.settings, kms, own_service.token))
            ready = other.call("GET", "/readyz")
            assert (ready.status_code, ready.json()["checks"]["audit"]) == (503, "has not opened a chain")
            _is(other.call("GET", "/wallets/alice/private-key"), "audit_unavailable")
            assert other.create("bob").status_code == 503
        wait_until(lambda: other.call("GET", "/readyz").status_code == 200)
        assert other.call("GET", "/wallets/alice/private-key").status_code == 200
    assert own_service.call("GET", "/wallets/bob").status_code == 404


@contextmanager
def _no_connections(url: str) -> Iterator[None]:
    """PostgreSQL refuses new connections to the database and cuts those that are open."""
    name = url.rpartition("/")[2]
    admin = url.removesuffix(name) + "postgres"
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        connection.execute(
            "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE datname = %s", (name,)
        )
        try:
            yield
        finally:
            connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")


def test_a_lost_database_is_503_and_heals_by_itself(own_service: Service, database_url: str) -> None:
    own_service.create("alice")
    requests: dict[str, Callable[[], Response]] = {
        "create": lambda: own_service.create("bob"),
        "put": lambda: own_service.call("PUT", "/wallets/alice"),
        "read": lambda: own_service.call("GET", "/wallets/alice"),
        "list": lambda: own_service.call("GET", "/wallets"),
        "private key": lambda: own_service.call("GET", "/wallets/alice/private-key"),
    }
    unseen = make_token(own_service.services, Scope.WALLETS_READ)
    with _no_connections(database_url):
        for name, request in requests.items():
            answer = request()
            assert answer.status_code == 503, name
            assert answer.json()["code"] in {"database_unavailable", "audit_unavailable"}, name
        batch = own_service.call("POST", "/wallets/batch", json={"userIds": ["bob", "carol"]})
        assert _codes(batch) == {"database_unavailable"}
        # Nobody is let in, or turned away, by a token that cannot be looked up.
        assert own_service.call("GET", "/wallets", token=unseen).json()["code"] == "database_unavailable"
        wait_until(lambda: own_service.client.get("/readyz").status_code == 503)
        assert own_service.client.get("/readyz").json()["checks"]["database"] == "unreachable"
        assert own_service.client.get("/livez").status_code == 200
    wait_until(lambda: own_service.client.get("/readyz").status_code == 200)
    answers = {name: request().status_code for name, request in requests.items()}
    assert answers == {"create": 201, "put": 200, "read": 200, "list": 200, "private key": 200}


def _codes(batch: Response) -> set[str]:
    results: list[dict[str, Any]] = batch.json().get("results", [{"problem": batch.json()}])
    return {each["problem"]["code"] for each in results}


BROKEN = {
    # what is wrong: how it came about, whether only KMS can tell
    "no blob": ("encrypted_dek = ''", False),
    "a blob longer than KMS takes": ("encrypted_dek = decode(repeat('00', 7000), 'hex')", False),
    "no blob of KMS": ("encrypted_dek = 'blob'", True),
    "no seed": ("encrypted_seed = ''", True),
    "an alias for a key id": ("kms_key_id = 'alias/Empressa-wallet-key-1'", False),
    "no key id": ("kms_key_id = ''", False),
    "another Region": ("kms_region = 'eu-west-1'", False),
    "an address in lower case": ("wallet_address = lower(wallet_address)", False),
    "no MAC": ("wallet_mac = NULL", False),
    "a MAC cut short": ("wallet_mac = substr(wallet_mac, 1, 31)", False),
    "a MAC of another key": ("wallet_mac_key_id = gen_random_uuid()", False),
    "no public key": ("compressed_public_key = NULL", False),
    "another public key": ("compressed_public_key = '0x02' || repeat('ab', 32)", False),
}


@pytest.mark.invariant(4)
@pytest.mark.parametrize("what", BROKEN)
def test_every_broken_row_gives_the_same_failure(hasty: Service, what: str) -> None:
    change, asks_kms = BROKEN[what]
    user = what.replace(" ", "-")
    hasty.create(user)
    with enter(hasty.owner.connection()) as connection:
        statement = f"UPDATE wallets SET {change} WHERE user_id = %s"  # noqa: S608 - from the table above
        complete(connection.exec_driver_sql(statement, (user,)))
    calls = hasty.kms.count("Decrypt")
    answer = hasty.call("GET", f"/wallets/{user}/private-key")
    _is(answer, "integrity_failure")
    assert answer.json()["detail"] == "The stored wallet does not open."
    assert hasty.kms.count("Decrypt") - calls == (1 if asks_kms else 0)
    told = hasty.call("GET", f"/wallets/{user}")
    if "address" in what or "MAC" in what or "public key" in what:
        _is(told, "integrity_failure")
    else:
        assert told.status_code == 200
