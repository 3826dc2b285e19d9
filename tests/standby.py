"""Two real PostgreSQL servers: a primary, and a hot standby that follows it and can be promoted."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from kms_service.local.postgres import PostgresServer, postgres
from waiting import wait_until

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
        # The server itself first reads the setting, then has its sessions read it, then takes new ones.
        wait_until(lambda: _is_read_only(server))

    def promote(self) -> None:
        with psycopg.connect(self.standby.url("postgres"), autocommit=True) as connection:
            connection.execute("SELECT pg_promote()")


def _is_read_only(server: PostgresServer) -> bool:
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        return connection.execute("SHOW default_transaction_read_only").fetchone() == ("on",)


@contextmanager
def pair(folder: Path, stopped: Path) -> Iterator[Pair]:
    """Both servers, on copies of the folder of a server that was stopped."""
    for name in ("primary", "standby"):
        # Not copytree, which does not keep the owner: PostgreSQL refuses to run as root.
        subprocess.run(["cp", "-a", stopped, folder / name], check=True)  # noqa: S603, S607 - constants
    (folder / "standby/postgres/standby.signal").touch(mode=0o644)
    with postgres(folder / "primary", FAST) as primary:
        follows = f"host=127.0.0.1 port={primary.port} user=postgres password={primary.password}"
        with postgres(folder / "standby", {**FAST, "primary_conninfo": follows}) as standby:
            yield Pair(primary, standby)
