"""A create that is killed, wherever it is, leaves nothing or a whole wallet with its audit row."""

import random
import secrets
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
import pytest

from event_loop import complete, enter
from kms_endpoint import Hang, KmsEndpoint
from kms_service.bootstrap import Services
from kms_service.settings import Settings
from raw_http import connect, read_answers, statuses
from server_process import ServerProcess, environment, make_token, serve
from waiting import pause, wait_until
from wiring import TESTER

SCOPES = ("wallets:create",)


@dataclass(frozen=True, slots=True)
class Creator:
    """A serving process, and a connection on which it is asked for wallets."""

    server: ServerProcess
    connection: socket.socket
    token: str

    def ask(self, *users: str) -> None:
        """Ask for a wallet for each, one request behind the other."""
        head = f"HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {self.token}\r\n\r\n"
        self.connection.sendall("".join(f"PUT /wallets/{user} {head}" for user in users).encode())

    def expect(self, count: int) -> None:
        """Wait for so many answers, or a few more: each a new wallet."""
        assert set(statuses(read_answers(self.connection, count))) == {201}

    def kill(self) -> None:
        """Kill it."""
        self.server.stop(signal.SIGKILL)


@contextmanager
def _creator(settings: Settings, endpoint: KmsEndpoint) -> Iterator[Creator]:
    env = environment(settings.database_url.get_secret_value(), endpoint)
    token = make_token(env, secrets.token_hex(4), *SCOPES)
    with serve(env) as server, connect(server.url) as connection:
        yield Creator(server, connection, token)


def _wait_for_lock(url: str, what: str) -> None:
    """Wait until a statement like this one waits for a lock."""
    statement = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE %s"
    with psycopg.connect(url, autocommit=True) as connection:
        wait_until(lambda: connection.execute(statement, (what,)).fetchone() != (0,))


def _nothing_or_all_of(services: Services, user: str) -> bool:
    """Whether the wallet is there; and if it is, that it is whole."""
    _until_no_statement_runs(services)
    with enter(services.database.connection()) as connection:
        statement = "SELECT count(*) FROM {} WHERE user_id = %s"
        counts = [
            complete(connection.exec_driver_sql(statement.format(table), (user,))).scalar_one()
            for table in ("wallets", "audit_events")
        ]
    assert counts in ([0, 0], [1, 1])
    if counts[0]:
        key = complete(services.wallets.get_private_key_for_user(TESTER, user))
        assert key.wallet_address == complete(services.wallets.get_wallet(user)).wallet_address
    else:
        assert complete(services.wallets.ensure_wallet(TESTER, user)).created
    return bool(counts[0])


def _until_no_statement_runs(services: Services) -> None:
    statement = """
        SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND state = 'active' AND pid <> pg_backend_pid()
    """
    with enter(services.database.connection()) as connection:
        wait_until(lambda: complete(connection.exec_driver_sql(statement)).scalar_one() == 0)


LOCKED: dict[str, tuple[str, str]] = {
    "while it looks the user up": (
        "LOCK TABLE wallets IN ACCESS EXCLUSIVE MODE",
        "SELECT %WHERE wallets.user_id = %",
    ),
    "while it inserts the wallet": ("LOCK TABLE wallets IN SHARE MODE", "SELECT %record_wallet(%"),
    "while it inserts the audit row": ("LOCK TABLE audit_events IN SHARE MODE", "SELECT %record_wallet(%"),
}


@pytest.mark.parametrize("when", LOCKED)
def test_killed_while_the_database_works(
    settings: Settings, kms_endpoint: KmsEndpoint, services: Services, when: str
) -> None:
    """The statement may still run to its end in PostgreSQL: then both rows are there, or else neither."""
    url = settings.database_url.get_secret_value()
    with _creator(settings, kms_endpoint) as creator, psycopg.connect(url) as holder:
        creator.ask("first")
        creator.expect(1)
        lock, waits = LOCKED[when]
        holder.execute(lock)
        creator.ask("killed")
        _wait_for_lock(url, waits)
        creator.kill()
        holder.rollback()
        _nothing_or_all_of(services, "killed")


def test_killed_while_kms_encrypts(settings: Settings, kms_endpoint: KmsEndpoint, services: Services) -> None:
    with _creator(settings, kms_endpoint) as creator:
        creator.ask("first")
        creator.expect(1)
        rule = kms_endpoint.on("Encrypt").answer(Hang())
        before = kms_endpoint.count("Encrypt")
        creator.ask("killed")
        kms_endpoint.wait_for(before + 1, "Encrypt")
        creator.kill()
        rule.remove()
        assert not _nothing_or_all_of(services, "killed")


def test_killed_at_any_moment(settings: Settings, kms_endpoint: KmsEndpoint, services: Services) -> None:
    """Several processes create without a pause and are killed in the middle of it."""
    moments = random.Random(7)
    told: list[str] = []
    for run in range(3):
        with _creator(settings, kms_endpoint) as creator:
            users = [f"user-{run}-{number}" for number in range(400)]
            told += users
            creator.ask(*users)
            creator.expect(moments.randrange(5, 60))
            pause(moments.random() / 50)  # the moment is what differs from kill to kill
            creator.kill()
    there = _whole_wallets(services)
    assert there
    assert there < set(told)
    for user in (min(there), max(there)):
        assert complete(services.wallets.get_private_key_for_user(TESTER, user)).user_id == user


def _whole_wallets(services: Services) -> set[str]:
    """The users with a wallet: the very same as those with a creation on record."""
    _until_no_statement_runs(services)
    with enter(services.database.connection()) as connection:
        wallets = set(
            complete(connection.exec_driver_sql("SELECT user_id, wallet_address, kms_key_id FROM wallets"))
        )
        events = set(
            complete(
                connection.exec_driver_sql(
                    "SELECT user_id, wallet_address, kms_key_id FROM audit_events "
                    "WHERE action = 'wallet.create'"
                )
            )
        )
    assert wallets == events
    return {row.user_id for row in wallets}
