"""Connections: none is held while KMS is called, none is left behind, and no foreign error gets out."""

import asyncio
import traceback
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from sqlalchemy import literal_column, select, text

from event_loop import complete, enter, loop, turns
from kms_endpoint import Hang, KmsEndpoint
from kms_service import context
from kms_service.bootstrap import Services
from kms_service.errors import DatabaseUnavailable
from kms_service.settings import Settings
from kms_service.store.postgres.database import Database, open_database
from kms_service.store.postgres.prepared import PreparedStatement
from kms_service.telemetry import metrics
from waiting import wait_until
from wiring import TESTER, backends_of, running_services


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    database = open_database(settings, connections=1)
    yield database
    complete(database.close())


def _in_use(services: Services) -> int:
    return services.database.in_use


@contextmanager
def _asking(work: Coroutine[Any, Any, object]) -> Iterator[None]:
    """The work goes on meanwhile and has ended afterwards."""
    asked = asyncio.run_coroutine_threadsafe(work, loop())
    yield
    asked.result()


@pytest.mark.invariant(2)
def test_no_connection_is_held_while_kms_hangs(services: Services, kms_endpoint: KmsEndpoint) -> None:
    complete(services.wallets.create_wallet(TESTER, "alice"))
    for operation, work, user in (
        ("Encrypt", services.wallets.create_wallet, "bob"),
        ("Decrypt", services.wallets.get_private_key_for_user, "alice"),
    ):
        before = kms_endpoint.count(operation)
        rule = kms_endpoint.on(operation).answer(Hang())
        with _asking(work(TESTER, user)):
            kms_endpoint.wait_for(before + 1, operation)
            assert _in_use(services) == 0
            rule.remove()


@pytest.mark.invariant(2)
def test_one_connection_serves_others_while_kms_hangs(settings: Settings, kms_endpoint: KmsEndpoint) -> None:
    """Every statement of a create and of a read fits into a single connection, one after the other."""
    with running_services(settings.model_copy(update={"database_connections": 1})) as services:
        complete(services.wallets.create_wallet(TESTER, "alice"))
        before = kms_endpoint.count("Decrypt")
        rule = kms_endpoint.on("Decrypt").answer(Hang())
        with _asking(services.wallets.get_private_key_for_user(TESTER, "alice")):
            kms_endpoint.wait_for(before + 1, "Decrypt")
            assert complete(services.wallets.get_wallet("alice")).user_id == "alice"
            assert complete(services.wallets.create_wallet(TESTER, "bob")).user_id == "bob"
            rule.remove()


def test_a_connection_in_use_is_closed_when_its_statement_is_done(
    database: Database, database_url: str
) -> None:
    with enter(database.connection()) as connection:
        pid = complete(connection.execute(text("SELECT pg_backend_pid()"))).scalar_one()
        complete(database.close())
    wait_until(lambda: not backends_of(database_url, [pid]))


def test_a_checkout_waits_no_longer_than_the_deadline(database: Database) -> None:
    with context.deadline(-1), pytest.raises(DatabaseUnavailable), enter(database.connection()):
        pass


def test_a_full_pool_is_unavailable(database: Database) -> None:
    with enter(database.connection()), pytest.raises(DatabaseUnavailable), enter(database.connection()):
        pass


def _execute(database: Database, *statements: str, **parameters: str) -> None:
    with enter(database.connection()) as connection:
        for statement in statements:
            complete(connection.execute(text(statement), parameters))


@pytest.mark.invariant(8)
@pytest.mark.parametrize(
    "statement",
    ["SELECT 1 / 0", "SELECT nonsense", "INSERT INTO tokens (name) VALUES ('app')", "SELECT pg_sleep(9)"],
)
def test_a_statement_that_fails_is_one_error_without_its_parameters(
    database: Database, statement: str
) -> None:
    secret = "canary".upper()
    with pytest.raises(DatabaseUnavailable) as error:
        _execute(database, "SET statement_timeout = 100", f"{statement} -- :secret", secret=secret)
    assert secret not in "".join(traceback.format_exception(error.value))
    _execute(database, "SELECT 1")


@pytest.mark.invariant(8)
def test_a_prepared_statement_that_fails_is_one_error(database: Database) -> None:
    counted = metrics.database_errors.labels("DataError")
    before = counted._value.get()
    divide = PreparedStatement(text("SELECT 1 / CAST(:by AS integer)"))
    with pytest.raises(DatabaseUnavailable):
        complete(database.row(divide, {"by": 0}))
    assert counted._value.get() == before + 1
    assert complete(database.row(divide, {"by": 1})) == (1,)


def test_cut_connections_fail_one_request(settings: Settings, database_url: str) -> None:
    wide = open_database(settings, connections=3)
    pid = PreparedStatement(text("SELECT pg_backend_pid()"))
    with enter(wide.connection()), enter(wide.connection()), enter(wide.connection()):
        pass
    with psycopg.connect(database_url) as other:
        other.execute(
            "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    with pytest.raises(DatabaseUnavailable):
        complete(wide.row(pid, {}))
    for _ in range(3):
        complete(wide.row(pid, {}))
    complete(wide.close())


INSERT = "INSERT INTO tokens (name, token_sha256, scopes) VALUES ('app', 'x', '{}')"


def _insert(database: Database, *more: str) -> None:
    with enter(database.transaction()) as connection:
        for statement in (INSERT, *more):
            complete(connection.execute(text(statement)))


def test_a_transaction_is_whole_or_nothing(database: Database) -> None:
    def count() -> int:
        with enter(database.connection()) as connection:
            found: int = complete(connection.execute(text("SELECT count(*) FROM tokens"))).scalar_one()
        return found

    with pytest.raises(DatabaseUnavailable):
        _insert(database, "SELECT 1 / 0")
    assert count() == 0
    _insert(database)
    assert count() == 1


def test_a_row_of_another_statement_is_never_taken(database: Database) -> None:
    """As a pooler answers that has mixed up two clients' prepared statements."""
    asked = PreparedStatement(select(literal_column("'alice'").label("user_id")))
    assert complete(database.row(asked, {})).user_id == "alice"
    for other in ("SELECT 'x' AS name", "SELECT 'x' AS user_id, 1 AS more", "SELECT 'x' AS user_id_1"):
        mixed_up = PreparedStatement(select(literal_column("'alice'").label("user_id")))
        mixed_up.__dict__["_text"] = other
        if other.endswith("_1"):
            asked.__dict__["_text"] = other
            mixed_up = asked
        with pytest.raises(DatabaseUnavailable) as error:
            complete(database.row(mixed_up, {}))
        assert "other columns" in error.value.reason


_ONE = PreparedStatement(select(literal_column("1").label("one")))


def _together(database: Database, *, cancelled: int | None) -> list[int]:
    """The numbers of four that wait for the one connection, rows and others, as they are served."""
    served: list[int] = []

    async def wait(number: int) -> None:
        if number % 2:
            await database.row(_ONE, {})
        else:
            async with database.connection() as connection:
                await connection.execute(text("SELECT 1"))
        served.append(number)

    async def scenario() -> None:
        async with database.connection():
            tasks = [asyncio.create_task(wait(number)) for number in range(4)]
            await turns()
            if cancelled is not None:
                tasks[cancelled].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    complete(scenario())
    return served


@pytest.mark.parametrize("cancelled", [None, 0, 1, 3])
@pytest.mark.invariant(15)
def test_connections_go_to_the_longest_waiting_caller(database: Database, cancelled: int | None) -> None:
    assert _together(database, cancelled=cancelled) == [n for n in range(4) if n != cancelled]
    assert database.in_use == 0


@pytest.mark.invariant(15)
def test_a_turn_that_comes_too_late_is_passed_on(database: Database) -> None:
    async def scenario() -> None:
        async with database.connection():
            first, second = (asyncio.create_task(database.row(_ONE, {})) for _ in range(2))
            await turns()
        # The connection is the first one's by now, who does not know it yet.
        first.cancel()
        assert (await second).one == 1
        with pytest.raises(asyncio.CancelledError):
            await first

    complete(scenario())
    assert database.in_use == 0
