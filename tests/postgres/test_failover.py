"""A server that is no longer the primary: the service leaves it at once and recovers without a restart."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr
from sqlalchemy import text

from event_loop import complete, enter
from kms_endpoint import KmsEndpoint
from kms_service.bootstrap import Services
from kms_service.errors import AuditUnavailable, DatabaseUnavailable
from kms_service.local.postgres import postgres
from kms_service.settings import Settings
from kms_service.store.postgres.database import Database, open_database
from kms_service.store.postgres.migrations import migrate
from kms_service.store.postgres.prepared import PreparedStatement
from standby import FAST, Pair, pair
from waiting import wait_until
from wiring import TESTER, backends_of, running_services, settings_for

_PORT = PreparedStatement(text("SELECT inet_server_port() AS port"))


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a server with a migrated database."""
    folder = tmp_path_factory.mktemp("servers") / "stopped"
    with postgres(folder, FAST) as server:
        server.ensure_database("wallets")
        migrate(server.url("wallets"))
    return folder


@pytest.fixture
def servers(tmp_path: Path, stopped: Path) -> Iterator[Pair]:
    with pair(tmp_path, stopped) as servers:
        yield servers


@pytest.fixture
def services(servers: Pair, kms_endpoint: KmsEndpoint) -> Iterator[Services]:
    with running_services(settings_for(servers.url("wallets"), kms_endpoint)) as services:
        yield services


def _port(database: Database) -> int:
    return int(complete(database.row(_PORT, {})).port)


def _ready(services: Services) -> bool:
    complete(services.readiness.probe())
    return services.readiness.health().ready


def _heals(services: Services) -> float:
    began = time.monotonic()
    wait_until(lambda: _ready(services))
    return time.monotonic() - began


def test_a_switch_over_is_followed(services: Services, servers: Pair) -> None:
    """Sessions on the old primary stay open and read-only, as in a planned failover."""
    wide = [services.database.connection() for _ in range(4)]
    for each in wide:
        complete(each.__aenter__())
    for each in wide:
        complete(each.__aexit__(None, None, None))
    assert _port(services.database) == servers.primary.port
    complete(services.wallets.create_wallet(TESTER, "alice"))
    servers.demote(servers.primary)
    failed = 0
    for number in range(12):
        try:
            complete(services.wallets.create_wallet(TESTER, f"early-{number}"))
        except (AuditUnavailable, DatabaseUnavailable):
            failed += 1
    assert failed == 12, "nothing takes writes yet"
    assert not _ready(services)
    servers.promote()
    assert _heals(services) < 50
    assert _port(services.database) == servers.standby.port
    for number in range(12):
        complete(services.wallets.create_wallet(TESTER, f"late-{number}"))
    assert complete(services.wallets.get_wallet("alice")).user_id == "alice"


def test_a_demoted_server_is_noticed_by_the_next_probe_though_nobody_writes(
    services: Services, servers: Pair
) -> None:
    complete(services.audit.try_to_begin())
    assert _ready(services)
    servers.demote(servers.primary)
    wait_until(lambda: not _ready(services))
    assert services.readiness.health().checks["database"] == "unreachable"
    servers.promote()
    assert _heals(services) < 50


def test_a_standby_serves_addresses_until_it_is_promoted(servers: Pair, kms_endpoint: KmsEndpoint) -> None:
    """The drill of deploy/runbooks/promote-a-standby.md."""
    at_home = settings_for(servers.primary.url("wallets"), kms_endpoint)
    with running_services(at_home) as home:
        made = complete(home.wallets.create_wallet(TESTER, "alice"))
        with psycopg.connect(servers.standby.url("wallets")) as standby:
            wait_until(lambda: _wallets(standby) == 1)
    both = settings_for(servers.url("wallets"), kms_endpoint, database_standby=True)
    decrypted, wrapped = kms_endpoint.count("Decrypt"), kms_endpoint.count("Encrypt")
    with running_services(both) as elsewhere:
        # 1. The standby serves what needs no write, and says so.
        assert _port(elsewhere.database) == servers.standby.port
        assert complete(elsewhere.wallets.get_wallet("alice")).wallet_address == made.wallet_address
        assert _ready(elsewhere)
        assert elsewhere.readiness.health().checks["writes"] == "none: the database is a standby"
        # 2. What needs a row of the audit log is refused, before KMS does anything that none would tell of.
        decrypted = kms_endpoint.count("Decrypt")
        with pytest.raises(AuditUnavailable):
            complete(elsewhere.wallets.get_private_key_for_user(TESTER, "alice"))
        with pytest.raises(AuditUnavailable):
            complete(elsewhere.wallets.create_wallet(TESTER, "bob"))
        assert kms_endpoint.count("Decrypt") == decrypted
        # 3. Promoted, it does all of it, and nothing was restarted.
        servers.promote()
        wait_until(lambda: _takes_writes(elsewhere))
        released = complete(elsewhere.wallets.get_private_key_for_user(TESTER, "alice"))
        assert released.wallet_address == made.wallet_address
        complete(elsewhere.wallets.create_wallet(TESTER, "bob"))
        assert _port(elsewhere.database) == servers.standby.port
        assert "writes" not in elsewhere.readiness.health().checks
        assert complete(elsewhere.verifier.verify(None, {}, lambda _rows: None)).intact
    assert kms_endpoint.count("Encrypt") > wrapped


def _wallets(connection: psycopg.Connection[tuple[int]]) -> int:
    try:
        row = connection.execute("SELECT count(*) FROM wallets").fetchone()
    except psycopg.errors.UndefinedTable:
        connection.rollback()
        return 0
    connection.rollback()
    return 0 if row is None else row[0]


def _takes_writes(services: Services) -> bool:
    complete(services.readiness.probe())
    complete(services.audit.try_to_begin())
    return services.audit.begun


@pytest.fixture
def wide(settings: Settings) -> Iterator[Database]:
    database = open_database(settings, connections=3)
    yield database
    complete(database.close())


def _raise_by_sql(state: str) -> PreparedStatement:
    return PreparedStatement(text(f"SELECT raise_state('{state}') AS raised"))


@pytest.fixture
def raising(database_url: str) -> str:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "CREATE FUNCTION raise_state(state text) RETURNS text LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION USING ERRCODE = state; END $$"
        )
    return database_url


def _pids(database: Database) -> set[int]:
    statement = text("SELECT pg_backend_pid()")
    with (
        enter(database.connection()) as one,
        enter(database.connection()) as two,
        enter(database.connection()) as three,
    ):
        return {complete(each.execute(statement)).scalar_one() for each in (one, two, three)}


def _by_row(database: Database, state: str) -> None:
    complete(database.row(_raise_by_sql(state), {}))


def _by_sqlalchemy(database: Database, state: str) -> None:
    with enter(database.connection()) as connection:
        complete(connection.execute(text(f"SELECT raise_state('{state}')")))


@pytest.mark.parametrize("fail", [_by_row, _by_sqlalchemy])
@pytest.mark.parametrize(
    ("state", "ends"),
    [
        *((state, True) for state in ("25006", "57P01", "57P02", "57P03", "28P01", "28000", "3D000")),
        *((state, True) for state in ("08006", "26000", "42P05")),
        *((state, False) for state in ("42501", "23505", "57014", "40001")),
    ],
)
def test_an_error_of_another_server_ends_the_connection_and_its_siblings(
    raising: str, wide: Database, fail: Callable[[Database, str], None], state: str, *, ends: bool
) -> None:
    before = _pids(wide)
    with pytest.raises(DatabaseUnavailable):
        fail(wide, state)
    after = _pids(wide)
    assert (before & after == set()) if ends else (before == after)
    wait_until(lambda: backends_of(raising, before) == (set() if ends else before))


def _at(settings: Settings, url: str) -> Database:
    return open_database(settings.model_copy(update={"database_url": SecretStr(url)}), connections=1)


@pytest.mark.parametrize("attributes", ["", "&target_session_attrs=primary", "&target_session_attrs=any"])
def test_a_host_that_is_away_is_passed_over(settings: Settings, database_url: str, attributes: str) -> None:
    login, _, rest = database_url.partition("@")
    database = _at(settings, f"{login}@127.0.0.1:1,{rest}?connect_timeout=2{attributes}")
    assert _port(database) == int(rest.partition(":")[2].partition("/")[0])
    complete(database.close())


def test_a_standby_alone_is_refused_with_its_reason(servers: Pair, settings: Settings) -> None:
    database = _at(settings, servers.standby.url("wallets"))
    with pytest.raises(DatabaseUnavailable) as error:
        _port(database)
    assert "takes no writes" in error.value.reason
    complete(database.close())
