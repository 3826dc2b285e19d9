"""The real PgBouncer between the service and PostgreSQL; Debian's package `pgbouncer`."""

import asyncio
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from pydantic import SecretStr
from sqlalchemy import text

from event_loop import complete, enter
from kms_endpoint import KmsEndpoint
from kms_service.errors import DatabaseUnavailable
from kms_service.local import tether
from kms_service.loopback import free_port
from kms_service.settings import Settings
from kms_service.store.postgres.database import Database, open_database
from kms_service.store.postgres.migrations import migrate
from kms_service.store.postgres.prepared import PreparedStatement
from waiting import wait_until
from wiring import TESTER, running_services, settings_for

PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
pytestmark = pytest.mark.skipif(PGBOUNCER is None, reason="pgbouncer is not installed")

_ROUNDS = 30


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def _pgbouncer(database_url: str, mode: str) -> Iterator[str]:
    """The URL of the same database through a PgBouncer with two connections to it."""
    parts, port = urlsplit(database_url), free_port()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        account = tether.unprivileged_account(folder)
        if account is not None:
            os.chown(folder, account.uid, account.gid)
        config = folder / "pgbouncer.ini"
        config.write_text(
            f"[databases]\n* = host=127.0.0.1 port={parts.port} "
            f"user={parts.username} password={parts.password}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n"
            "auth_type = any\nunix_socket_dir =\n"
            f"pool_mode = {mode}\ndefault_pool_size = 2\nmax_client_conn = 100\n"
        )
        assert PGBOUNCER is not None
        process = tether.start(
            [PGBOUNCER, "-q", config],
            on_parent_death=signal.SIGKILL,
            account=account,
            workspace=folder,
            environ={"PATH": os.defpath},
            stdout=None,
            stderr=None,
        )
        try:
            wait_until(lambda: _accepts(port))
            yield parts._replace(netloc=f"{parts.username}:any@127.0.0.1:{port}").geturl()
        finally:
            process.kill()
            process.wait()


@pytest.fixture(params=["transaction", "session"])
def pooled_url(request: pytest.FixtureRequest, database_url: str) -> Iterator[str]:
    with _pgbouncer(database_url, request.param) as url:
        yield url


@pytest.fixture
def by_transaction(database_url: str) -> Iterator[str]:
    with _pgbouncer(database_url, "transaction") as url:
        yield url


def test_the_service_works_behind_a_pooler(pooled_url: str, kms_endpoint: KmsEndpoint) -> None:
    migrate(pooled_url)
    settings = settings_for(pooled_url, kms_endpoint, database_connections=2)
    with running_services(settings) as services:
        for number in range(8):
            made = complete(services.wallets.create_wallet(TESTER, f"user-{number}"))
            assert complete(services.wallets.get_wallet(f"user-{number}")) == made
        assert complete(services.wallets.get_private_key_for_user(TESTER, "user-0")).user_id == "user-0"


def _open(settings: Settings, url: str, prepared: str) -> Database:
    changes = {"database_url": SecretStr(url), "database_prepared_statements": prepared}
    return open_database(settings.model_copy(update=changes), connections=4)


_NUMBER = PreparedStatement(text("SELECT CAST(:value AS integer) AS number"))
_WORD = PreparedStatement(text("SELECT CAST(:value AS integer) AS word"))
_BOTH = {"number": _NUMBER, "word": _WORD}


async def _ask(databases: list[Database]) -> list[str]:
    """Run both statements over and over on every database at once; returns what was wrong or failed."""

    async def ask(database: Database, name: str, value: int) -> str | None:
        try:
            row = await database.row(_BOTH[name], {"value": value})
        except DatabaseUnavailable as error:
            return error.reason
        return None if row._asdict() == {name: value} else f"{row} for {name} {value}"

    asked = [
        ask(database, name, value)
        for value in range(_ROUNDS)
        for index, database in enumerate(databases)
        for name in (sorted(_BOTH) if index else sorted(_BOTH, reverse=True))
    ]
    answers: list[str] = []
    for begin in range(0, len(asked), 8):
        answers += [each for each in await asyncio.gather(*asked[begin : begin + 8]) if each]
    return answers


def test_no_client_gets_the_prepared_statements_of_another(by_transaction: str, settings: Settings) -> None:
    databases = [_open(settings, by_transaction, "auto") for _ in range(3)]
    assert complete(_ask(databases)) == []
    for each in databases:
        complete(each.close())


def test_forced_prepared_statements_give_an_error_and_never_another_row(
    by_transaction: str, settings: Settings
) -> None:
    """PgBouncer before 1.21 knows nothing of prepared statements."""
    databases = [_open(settings, by_transaction, "true") for _ in range(3)]
    for wrong in complete(_ask(databases)):
        assert "(26000)" in wrong or "closed" in wrong, wrong
    for each in databases:
        complete(each.close())


@pytest.mark.parametrize(("asked", "names"), [("auto", 1), ("true", 1), ("false", 0)])
def test_without_a_pooler_statements_are_prepared_unless_switched_off(
    settings: Settings, asked: str, names: int
) -> None:
    changes = {"database_prepared_statements": asked}
    database = open_database(settings.model_copy(update=changes), connections=1)
    for value in range(7):
        complete(database.row(_NUMBER, {"value": value}))
    with enter(database.connection()) as connection:
        counted = text("SELECT name FROM pg_prepared_statements WHERE statement LIKE '%AS number%'")
        found = complete(connection.execute(counted)).scalars().all()
    complete(database.close())
    assert len(found) == names
    assert all(name.startswith("_pg3_") and len(name) > len("_pg3_0_") for name in found)


def test_the_session_holds_on_every_server_connection(by_transaction: str, settings: Settings) -> None:
    with psycopg.connect(by_transaction, autocommit=True, prepare_threshold=None) as other:
        other.execute("ALTER DATABASE " + other.info.dbname + " SET datestyle = 'German'")
        other.execute("ALTER DATABASE " + other.info.dbname + " SET timezone = 'Asia/Kathmandu'")
    database = _open(settings, by_transaction, "auto")

    async def looks() -> set[tuple[str, str]]:
        both = asyncio.Barrier(2)  # as many as there are connections to PostgreSQL: each gets one of a pair

        async def look() -> tuple[str, str]:
            async with database.connection() as connection:
                await connection.execute(text("SELECT 1"))
                await both.wait()
                style: str = (await connection.execute(text("SHOW datestyle"))).scalar_one()
                zone: str = (await connection.execute(text("SHOW timezone"))).scalar_one()
                return style, zone

        return set(await asyncio.gather(*(look() for _ in range(4))))

    assert complete(looks()) == {("ISO, MDY", "UTC")}
    complete(database.close())


def test_a_setting_that_a_pooler_cannot_carry_is_refused_in_one_line(
    by_transaction: str, settings: Settings
) -> None:
    with psycopg.connect(by_transaction, autocommit=True, prepare_threshold=None) as other:
        other.execute("ALTER DATABASE " + other.info.dbname + " SET search_path = 'elsewhere'")
    database = _open(settings, by_transaction, "auto")

    def is_refused() -> bool:
        try:
            complete(database.row(_NUMBER, {"value": 1}))
        except DatabaseUnavailable as error:
            return "behind a pooler search_path cannot be pinned" in error.reason
        return False

    with psycopg.connect(settings.database_url.get_secret_value(), autocommit=True) as direct:
        direct.execute(
            "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    wait_until(is_refused)
    complete(database.close())
