"""A create that is killed, wherever it is, leaves nothing or a whole wallet with its audit row."""

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from event_loop import complete, enter
from kms_endpoint import Hang, KmsEndpoint
from kms_service.bootstrap import Services
from kms_service.settings import Settings
from server_process import environment
from waiting import pause, wait_until
from wiring import TESTER

CREATE = """
import asyncio, sys
from kms_service.access.scopes import Caller
from kms_service.bootstrap import build
from kms_service.settings import load_settings
from kms_service.telemetry import logs

logs.configure("ERROR", "json", sys.stderr)

async def create():
    services = build(load_settings(None))
    await services.check()
    caller = Caller.without_bounds("test")
    print("ready", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        print((await services.wallets.ensure_wallet(caller, line.strip())).wallet.wallet_address, flush=True)

asyncio.run(create())
"""


@contextmanager
def _creator(settings: Settings, endpoint: KmsEndpoint) -> Iterator[subprocess.Popen[str]]:
    """A process that makes a wallet for each user it is told, and is killed at the end."""
    process = subprocess.Popen(  # noqa: S603 - this interpreter, the text above
        [sys.executable, "-c", CREATE],
        env=environment(settings.database_url.get_secret_value(), endpoint),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin
    assert process.stdout
    try:
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def _tell(process: subprocess.Popen[str], user: str) -> None:
    assert process.stdin
    process.stdin.write(user + "\n")
    process.stdin.flush()


def _answer(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline()


def _wait_for_lock(url: str) -> None:
    statement = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    with psycopg.connect(url, autocommit=True) as connection:
        wait_until(lambda: connection.execute(statement).fetchone() != (0,))


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


LOCKED: dict[str, str] = {
    "while it looks the user up": "LOCK TABLE wallets IN ACCESS EXCLUSIVE MODE",
    "while it inserts the wallet": "LOCK TABLE wallets IN SHARE MODE",
    "while it inserts the audit row": "LOCK TABLE audit_events IN SHARE MODE",
}


@pytest.mark.parametrize("when", LOCKED)
def test_killed_while_the_database_works(
    settings: Settings, kms_endpoint: KmsEndpoint, services: Services, when: str
) -> None:
    """The statement may still run to its end in PostgreSQL: then both rows are there, or else neither."""
    url = settings.database_url.get_secret_value()
    with _creator(settings, kms_endpoint) as process, psycopg.connect(url) as holder:
        _tell(process, "first")
        assert _answer(process).startswith("0x")
        holder.execute(LOCKED[when])
        _tell(process, "killed")
        _wait_for_lock(url)
        process.send_signal(signal.SIGKILL)
        process.wait()
        holder.rollback()
        _nothing_or_all_of(services, "killed")


def test_killed_while_kms_encrypts(settings: Settings, kms_endpoint: KmsEndpoint, services: Services) -> None:
    with _creator(settings, kms_endpoint) as process:
        _tell(process, "first")
        _answer(process)
        rule = kms_endpoint.on("Encrypt").answer(Hang())
        before = kms_endpoint.count("Encrypt")
        _tell(process, "killed")
        kms_endpoint.wait_for(before + 1, "Encrypt")
        process.send_signal(signal.SIGKILL)
        process.wait()
        rule.remove()
        assert not _nothing_or_all_of(services, "killed")


def test_killed_at_any_moment(settings: Settings, kms_endpoint: KmsEndpoint, services: Services) -> None:
    """Several processes create without a pause and are killed in the middle of it."""
    moments = random.Random(7)
    told: list[str] = []
    for run in range(3):
        with _creator(settings, kms_endpoint) as process:
            users = [f"user-{run}-{number}" for number in range(400)]
            told += users
            _tell(process, "\n".join(users))
            for _ in range(moments.randrange(5, 60)):
                assert _answer(process).startswith("0x")
            pause(moments.random() / 50)  # the moment is what differs from kill to kill
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
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
