"""Builds the service on a test's own database and KMS, for fixtures of any scope."""

import secrets
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import psycopg
from psycopg import sql
from pydantic import SecretStr

from event_loop import complete
from kms_endpoint import Account, KmsEndpoint
from kms_service.access.scopes import Caller
from kms_service.bootstrap import Services, build
from kms_service.settings import Settings

ROLES = Path(__file__).parents[1] / "deploy/postgres/roles.sql"
_LOGIN_PASSWORD = "only-on-loopback"

TESTER = Caller.without_bounds("test")
"""The caller, where a test calls a use case itself."""


class FreshDatabase(Protocol):
    """A context that yields the URL of a new, migrated database, and drops it at the end.

    It is empty, or a copy of the `original` at this URL, to which nobody may be connected any more.
    """

    def __call__(self, original: str | None = None) -> AbstractContextManager[str]: ...


@dataclass(frozen=True, slots=True)
class Original:
    """What was made once, for tests that begin with a copy: a database (empty if `None`) and KMS keys."""

    database_url: str | None
    account: Account


def settings_for(database_url: str, endpoint: KmsEndpoint, **changes: Any) -> Settings:
    """The settings of a service on this database and KMS, with `changes` by field name."""
    return Settings(
        _env_file=None,
        aws_region=endpoint.region,
        aws_access_key_id="test",
        aws_secret_access_key="test",
        aws_endpoint_url_kms=endpoint.url,
        database_url=database_url,
        **changes,
    )


def backends_of(database_url: str, pids: Collection[int]) -> set[int]:
    """Those of PostgreSQL's processes that still run: one ends a moment after its connection."""
    with psycopg.connect(database_url) as connection:
        found = connection.execute("SELECT pid FROM pg_stat_activity WHERE pid = ANY (%s)", [list(pids)])
        return {pid for (pid,) in found}


def grant_roles(database_url: str) -> None:
    """Apply the roles as an administrator does, and make a login for each."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(ROLES.read_bytes())
        roles = connection.execute(r"SELECT rolname FROM pg_roles WHERE rolname ~ '^kms_[a-z]+$'").fetchall()
        for (role,) in roles:
            login = sql.Identifier(f"{role}_login")
            connection.execute(
                sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} IN ROLE {}").format(
                    login, sql.Literal(_LOGIN_PASSWORD), sql.Identifier(role)
                )
            )
            if role == "kms_migrate":
                connection.execute(sql.SQL("ALTER ROLE {} SET role = {}").format(login, sql.Identifier(role)))


def as_role(database_url: str, role: str) -> str:
    """The URL of the same database for a login that is a member of this role only."""
    parts = urlsplit(database_url)
    address = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{role}_login:{_LOGIN_PASSWORD}@{address}").geturl()


def with_role(settings: Settings, role: str) -> Settings:
    """The same settings, for a login of this role."""
    url = as_role(settings.database_url.get_secret_value(), role)
    return settings.model_copy(update={"database_url": SecretStr(url)})


@contextmanager
def running_services(settings: Settings, clock: Callable[[], float] = time.monotonic) -> Iterator[Services]:
    """A process's services, checked as at start, without their background work."""
    services = build(settings, clock)
    try:
        complete(services.check())
        yield services
    finally:
        complete(services.close())


def holder(services: Services, token: str) -> Caller:
    """The holder of this token, as a request with it would find."""
    digest = complete(services.authenticator.expect(token))
    return complete(services.authenticator.authenticate(digest))


def invented_token() -> str:
    """A token in the form from before MACs, which anybody can make up."""
    return f"kms_{secrets.token_urlsafe(32)}"
