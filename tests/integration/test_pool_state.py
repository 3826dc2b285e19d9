"""The pool over HTTP and across replicas: shown, drained, counted, and kept in PostgreSQL."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from sqlalchemy import select

from asgi_client import AsgiClient
from event_loop import complete, enter
from kms_endpoint import KmsEndpoint
from kms_service.access.scopes import Scope
from kms_service.api.app import create_app
from kms_service.bootstrap import Services
from kms_service.errors import LastActiveKey
from kms_service.kms.pool import KeyMode
from kms_service.settings import Settings
from kms_service.store.postgres.tables import audit_events
from wiring import TESTER, running_services

NAME = "Empressa-wallet-key"
Client = Callable[..., AsgiClient]


@pytest.fixture
def client(services: Services) -> Client:
    """A client of the routes, holding a token with the given scopes."""
    app = create_app(services, owns_process=False)

    def with_scopes(*scopes: Scope) -> AsgiClient:
        name = "-".join(scope.name for scope in scopes)
        made = complete(
            services.tokens.create(
                TESTER,
                name,
                scopes,
                expires_in=None,
                private_key_reads_per_minute=None,
                signatures_per_minute=None,
                policy=None,
            )
        )
        return AsgiClient(app, made.secret)

    return with_scopes


def _pool_events(services: Services) -> list[tuple[str, str, str | None]]:
    statement = select(audit_events.c.action, audit_events.c.outcome, audit_events.c.detail).order_by(
        audit_events.c.id
    )
    with enter(services.database.connection()) as connection:
        return [
            tuple(row) for row in complete(connection.execute(statement)) if row.action.startswith("pool.")
        ]


def test_the_pool_is_shown_in_the_shape_of_the_contract(
    services: Services, kms_endpoint: KmsEndpoint, client: Client
) -> None:
    for number in range(1, 11):
        key = kms_endpoint.key(f"alias/{NAME}-{number}")
        key.rotation_period, key.rotation_enabled_at = 360 + number, key.created
    kms_endpoint.key(f"alias/{NAME}-2").state = "Disabled"
    complete(services.pool.refresh())
    wallets = [complete(services.wallets.create_wallet(TESTER, f"user-{number}")) for number in range(12)]
    reader = client(Scope.POOL_READ)
    asked = len(kms_endpoint.requests)
    view = reader.get("/kms/pool").json()
    assert len(kms_endpoint.requests) == asked
    assert [key["alias"] for key in view["keys"]] == [f"alias/{NAME}-{number}" for number in range(1, 11)]
    assert {key["keyId"]: key["wallets"] for key in view["keys"]} == {
        kms_endpoint.key(f"alias/{NAME}-{number}").arn: sum(
            wallet.kms_key_id == kms_endpoint.key(f"alias/{NAME}-{number}").arn for wallet in wallets
        )
        for number in range(1, 11)
    }
    disabled = view["keys"][1]
    assert (disabled["status"], disabled["reason"], disabled["mode"]) == ("Disabled", "Disabled", "active")
    assert disabled["keyId"] not in view["currentActiveKeys"]
    assert len(view["currentActiveKeys"]) == 9
    assert view["rotationSchedule"] == {
        "automatic": True, "periodInDays": 370, "enabled": True, "intervalMonths": 12
    }  # fmt: skip
    assert view["keys"][0]["rotation"]["periodInDays"] == 361
    assert view["keys"][0]["rotation"]["nextRotationDate"].endswith("Z")
    assert view["keys"][0]["region"] == "eu-central-1"
    used = {wallet.kms_key_id for wallet in wallets}
    assert all(key["lastUsedDate"] for key in view["keys"] if key["keyId"] in used)


def test_a_refresh_sees_what_changed(kms_endpoint: KmsEndpoint, client: Client) -> None:
    admin = client(Scope.POOL_ADMIN)
    kms_endpoint.key(f"alias/{NAME}-3").state = "PendingDeletion"
    assert admin.post("/kms/pool/refresh").json()["keys"][2]["status"] == "PendingDeletion"
    kms_endpoint.key(f"alias/{NAME}-3").state = "Enabled"
    assert admin.post("/kms/pool/refresh").json()["keys"][2]["status"] == "Active"


def test_draining_reaches_other_replicas_and_lasts(
    services: Services, settings: Settings, kms_endpoint: KmsEndpoint, client: Client
) -> None:
    answer = client(Scope.POOL_ADMIN).put(f"/kms/pool/keys/{NAME}-4", json={"mode": "draining"})
    assert (answer.status_code, answer.json()["mode"]) == (200, "draining")
    drained = kms_endpoint.key(f"alias/{NAME}-4").arn
    with running_services(settings) as replica:
        assert replica.pool.reasons == {f"alias/{NAME}-4": "draining"}
        for number in range(30):
            assert complete(replica.wallets.create_wallet(TESTER, f"user-{number}")).kms_key_id != drained
        complete(services.pool_service.set_mode(TESTER, f"{NAME}-4", KeyMode.ACTIVE))
        assert replica.pool.reasons
        complete(replica.shared_state.poll())
        assert replica.pool.reasons == {}
    assert _pool_events(services) == [
        ("pool.drain", "ok", f"alias/{NAME}-4"),
        ("pool.activate", "ok", f"alias/{NAME}-4"),
    ]


def test_the_last_active_key_is_not_drained(services: Services, client: Client) -> None:
    for number in range(1, 10):
        complete(services.pool_service.set_mode(TESTER, f"{NAME}-{number}", KeyMode.DRAINING))
    answer = client(Scope.POOL_ADMIN).put(f"/kms/pool/keys/{NAME}-10", json={"mode": "draining"})
    assert (answer.status_code, answer.json()["code"]) == (409, "last_active_key")
    assert _pool_events(services)[-1] == ("pool.drain", "last_active_key", f"alias/{NAME}-10")
    assert complete(services.wallets.create_wallet(TESTER, "user")).user_id == "user"


def test_keys_that_are_active_only_in_name_do_not_count(
    services: Services, kms_endpoint: KmsEndpoint
) -> None:
    for number in range(2, 11):
        kms_endpoint.key(f"alias/{NAME}-{number}").state = "Disabled"
    complete(services.pool.refresh())
    with pytest.raises(LastActiveKey):
        complete(services.pool_service.set_mode(TESTER, f"{NAME}-1", KeyMode.DRAINING))


def test_two_who_drain_at_once_leave_one_key(services: Services) -> None:
    for number in range(1, 9):
        complete(services.pool_service.set_mode(TESTER, f"{NAME}-{number}", KeyMode.DRAINING))

    def drain(number: int) -> bool:
        try:
            complete(services.pool_service.set_mode(TESTER, f"{NAME}-{number}", KeyMode.DRAINING))
        except LastActiveKey:
            return False
        return True

    with ThreadPoolExecutor(2) as threads:
        assert sorted(threads.map(drain, (9, 10))) == [False, True]


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        (f"{NAME}-11", {"mode": "draining"}, 404, "key_not_found"),
        (f"{NAME}-1", {"mode": "sleeping"}, 422, "invalid_request"),
        (f"{NAME}-1", {"mode": "active", "more": 1}, 422, "invalid_request"),
        ("a b", {"mode": "active"}, 422, "invalid_request"),
    ],
)
def test_an_unknown_key_or_mode_is_refused(
    client: Client, path: str, body: dict[str, object], status: int, code: str
) -> None:
    answer = client(Scope.POOL_ADMIN).put(f"/kms/pool/keys/{path}", json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "/kms/pool", Scope.POOL_ADMIN),
        ("POST", "/kms/pool/refresh", Scope.POOL_READ),
        ("PUT", f"/kms/pool/keys/{NAME}-1", Scope.POOL_READ),
    ],
)
def test_each_route_needs_its_own_scope(client: Client, method: str, path: str, scope: Scope) -> None:
    assert client(scope).request(method, path).status_code == 403


def test_last_use_and_counts_are_shared(services: Services, settings: Settings, client: Client) -> None:
    wallet = complete(services.wallets.create_wallet(TESTER, "user"))
    with running_services(settings) as replica:
        complete(services.census.take())
        census = complete(replica.census.read())[wallet.kms_key_id]
    assert census.wallets == 1
    assert census.last_used_at is not None
    text = client(Scope.WALLETS_READ).get("/metrics").text
    assert sum(float(line.split()[-1]) for line in text.splitlines() if "service_wallets{" in line) == 1


def test_wallets_under_a_key_outside_the_pool_are_shown(
    services: Services, kms_endpoint: KmsEndpoint, client: Client
) -> None:
    wallet = complete(services.wallets.create_wallet(TESTER, "user"))
    alias = next(name for name, arn in kms_endpoint.store.aliases.items() if arn == wallet.kms_key_id)
    kms_endpoint.store.set_alias(alias, kms_endpoint.store.create())
    complete(services.pool.refresh())
    view = client(Scope.POOL_READ).get("/kms/pool").json()
    assert [(key["keyId"], key["wallets"]) for key in view["otherKeys"]] == [(wallet.kms_key_id, 1)]
    assert [key["movedFrom"] for key in view["keys"] if key["alias"] == alias] == [wallet.kms_key_id]


def test_a_slow_count_is_not_repeated_for_everyone_who_asks(services: Services, database_url: str) -> None:
    wallet = complete(services.wallets.create_wallet(TESTER, "user"))
    complete(services.census.take())
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE key_census SET counted_in_seconds = 2, wallets = 41")
    assert complete(services.census.read())[wallet.kms_key_id].wallets == 41
    complete(services.census.take())
    assert complete(services.census.read())[wallet.kms_key_id].wallets == 41
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE key_census SET counted_at = now() - interval '201 seconds'")
    complete(services.census.take())
    assert complete(services.census.read())[wallet.kms_key_id].wallets == 1


def test_one_replica_counts_at_a_time(services: Services, database_url: str) -> None:
    wallet = complete(services.wallets.create_wallet(TESTER, "user"))
    with psycopg.connect(database_url) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [0x6B6D735F636E7473])
        complete(services.census.take())
        assert complete(services.census.read())[wallet.kms_key_id].wallets is None
    complete(services.census.take())
    assert complete(services.census.read())[wallet.kms_key_id].wallets == 1


def test_modes_stay_in_force_while_the_database_is_away(services: Services) -> None:
    complete(services.pool_service.set_mode(TESTER, f"{NAME}-4", KeyMode.DRAINING))
    with enter(services.database.connection()) as connection:
        complete(connection.exec_driver_sql("ALTER TABLE pool_keys RENAME TO gone"))
    complete(services.shared_state.poll())
    assert services.pool.reasons == {f"alias/{NAME}-4": "draining"}
