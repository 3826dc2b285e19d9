"""The real parts every test may have: PostgreSQL through the real migrations, and a KMS endpoint on loopback.

Stand-ins replace the lowest boundary only (invariant 10).
"""

import gc
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import boto3
import psycopg
import pytest
from botocore.config import Config
from botocore.loaders import create_loader
from httpx import create_ssl_context
from psycopg import sql

import measuring
import scratch
import speed
from compiled import compile_once
from kms_endpoint import KmsEndpoint, copy_keys
from kms_service import context
from kms_service.bootstrap import Services
from kms_service.local.postgres import PostgresServer, postgres
from kms_service.settings import Settings
from kms_service.store.postgres.migrations import migrate
from wiring import FreshDatabase, Original, grant_roles, running_services, settings_for

if TYPE_CHECKING:
    from types_boto3_kms import KMSClient

ALIAS_PREFIX = "Empressa-wallet-key"
POOL_SIZE = 10

_TEMPLATE = "migrated"
_RECURSION_LIMIT = 1000  # Python's own
# Nothing here has to survive a power cut.
_FAST = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "max_wal_size": "128MB",
    "scram_iterations": "1",  # of 4,096 by default, which cost the client more than the rest of its log-in
}


measuring.pause()
gc.disable()  # until all tests are collected
# A shell starts what it runs in the background with SIGINT ignored, and tests send it, here and to children.
signal.signal(signal.SIGINT, signal.default_int_handler)
scratch.keep_in_memory()


def pytest_configure(config: pytest.Config) -> None:
    """Name the two markers, which no test carries in its own text."""
    for marker in speed.MARKERS:
        config.addinivalue_line("markers", marker)


# Before pytest's own, which leaves out what `-m` does not name.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    """Mark each test as fast or slow, and begin with the slow modules.

    Test processes take whole modules: a long one that comes last would leave the others idle.
    """
    for item in items:
        speed.mark(item)
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish() -> None:
    """Collect garbage from here on only, and never walk what there is by now: it stays to the end."""
    # As in a serving process. Where a test module imports eth_account, py_ecc raises it to 100,000, at which
    # a deep JSON document overflows the stack and ends the process.
    sys.setrecursionlimit(_RECURSION_LIMIT)
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def _no_ambient_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Hide the developer's own settings, `.env` and AWS credentials from every test."""
    names = {name.upper() for name in Settings.model_fields}
    empty = tmp_path_factory.mktemp("ambient")
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            if name.upper() in names or name.upper().startswith("AWS_"):
                patch.delenv(name)
        patch.setenv("AWS_CONFIG_FILE", str(empty / "config"))
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(empty / "credentials"))
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.chdir(empty)
        yield


@pytest.fixture(scope="module", autouse=True)
def _measured(request: pytest.FixtureRequest) -> Iterator[None]:
    """Measure coverage where that tells something: it takes time."""
    with measuring.measure(request.path):
        yield


@pytest.fixture(autouse=True)
def _outside_a_request() -> None:
    """Start every test as no one's request: a command run in this process sets the id and resets none."""
    context.request_id.set(None)


@pytest.fixture(scope="session", autouse=True)
def _read_once() -> Iterator[None]:
    """Have what others read anew each time parsed once.

    Every session of botocore reads its service descriptions, in 80 ms; every client of httpx reads the public
    authorities, in 20 ms.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("botocore.session.create_loader", cache(create_loader))
        patch.setattr("httpx._transports.default.create_ssl_context", cache(create_ssl_context))
        compile_once(patch)
        yield


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A running server with one migrated database to clone; one for each test process."""
    folder: Path = tmp_path_factory.mktemp("postgres")
    with postgres(folder, _FAST) as server:
        _store_password_anew(server)
        server.ensure_database(_TEMPLATE)
        migrate(server.url(_TEMPLATE))
        grant_roles(server.url(_TEMPLATE))
        yield server


def _store_password_anew(server: PostgresServer) -> None:
    """Store the administrator's password as the server's settings now say: initdb went by its defaults."""
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("ALTER ROLE postgres PASSWORD {}").format(server.password))


@pytest.fixture(scope="session")
def fresh_database(postgres_server: PostgresServer) -> Iterator[FreshDatabase]:
    """Makes databases, for fixtures of any scope."""
    numbers = count(1)

    @contextmanager
    def fresh(original: str | None = None) -> Iterator[str]:
        name = f"test_{next(numbers)}"
        template = urlsplit(original).path[1:] if original else _TEMPLATE
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
        try:
            yield postgres_server.url(name)
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")

    with psycopg.connect(postgres_server.url("postgres"), autocommit=True) as connection:
        yield fresh


@pytest.fixture
def original() -> Original | None:
    """What the test's database and KMS are copies of: here of nothing."""
    return None


@pytest.fixture
def database_url(fresh_database: FreshDatabase, original: Original | None) -> Iterator[str]:
    """The URL of a migrated database of this test's own: a copy of the original's, or empty."""
    with fresh_database(original.database_url if original else None) as url:
        yield url


@pytest.fixture
def kms_endpoint(original: Original | None) -> Iterator[KmsEndpoint]:
    """KMS with the original's keys or the pool's ten; it does as it should until it is told otherwise."""
    with KmsEndpoint(account=copy_keys(original.account) if original else None) as endpoint:
        if original is None:
            endpoint.add_pool(ALIAS_PREFIX, POOL_SIZE)
        yield endpoint


@pytest.fixture
def kms_client(kms_endpoint: KmsEndpoint) -> "KMSClient":
    """A boto3 client of the endpoint that tries once."""
    session = boto3.Session(aws_access_key_id="test", aws_secret_access_key="test")
    return session.client(
        "kms",
        region_name=kms_endpoint.region,
        endpoint_url=kms_endpoint.url,
        config=Config(retries={"total_max_attempts": 1}, connect_timeout=1, read_timeout=2),
    )


@pytest.fixture
def settings(database_url: str, kms_endpoint: KmsEndpoint) -> Settings:
    """Settings that point at this test's own database and KMS."""
    return settings_for(database_url, kms_endpoint)


@pytest.fixture
def services(settings: Settings) -> Iterator[Services]:
    """A process's services on this test's own database and KMS."""
    with running_services(settings) as services:
        yield services
