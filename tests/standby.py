"""Two real PostgreSQL servers: a primary, and a hot standby that follows it and can be promoted."""

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from kms_service.local import tether
from kms_service.local.postgres import PostgresServer, _environ, _program, postgres

FAST = {"fsync": "off", "shared_buffers": "16MB", "wal_level": "replica", "hot_standby": "on"}


@dataclass(frozen=True)
class Pair:
    primary: PostgresServer
    standby: PostgresServer

    def url(self, database: str, more: str = "") -> str:
        """Both hosts, the standby first."""
        login = self.primary.url(database).partition("//")[2].partition("@")[0]
        return f"postgresql://{login}@127.0.0.1:{self.standby.port},127.0.0.1:{self.primary.port}/{database}{more}"

    def demote(self, server: PostgresServer) -> None:
        """Make a server read-only, as RDS does in a switch-over: for new transactions; sessions stay."""
        with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET default_transaction_read_only = on")
            connection.execute("SELECT pg_reload_conf()")

    def promote(self) -> None:
        with psycopg.connect(self.standby.url("postgres"), autocommit=True) as connection:
            connection.execute("SELECT pg_promote()")


@contextmanager
def pair(folder: Path, database: str) -> Iterator[Pair]:
    """Both servers, with an empty `database` on them."""
    with postgres(folder / "primary", FAST) as primary:
        primary.ensure_database(database)
        _copy(primary, folder)
        follows = f"host=127.0.0.1 port={primary.port} user=postgres password={primary.password}"
        with postgres(folder / "standby", {**FAST, "primary_conninfo": follows}) as standby:
            yield Pair(primary, standby)


def _copy(primary: PostgresServer, folder: Path) -> None:
    into = folder / "standby"
    into.mkdir(mode=0o711)
    data = into / "postgres"
    data.mkdir(mode=0o700)
    account = tether.unprivileged_account(data)
    if account is not None:
        os.chown(data, account.uid, account.gid)
    copied = tether.start(
        [_program("pg_basebackup"), "-D", data, "-d", primary.url("postgres"), "-X", "stream", "-c", "fast"],
        on_parent_death=signal.SIGTERM,
        account=account,
        workspace=data,
        environ=_environ(),
        stdout=None,
        stderr=None,
    ).wait()
    assert copied == 0
    shutil.copy(folder / "primary/postgres-password", into / "postgres-password")
    (data / "standby.signal").touch(mode=0o644)
