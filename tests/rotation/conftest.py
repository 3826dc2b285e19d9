"""A fleet of wallets under one key, and workers for it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from event_loop import complete, on_loop
from fleet import PREFIX, SIZE, Fleet
from kms_endpoint import KmsEndpoint
from kms_service.bootstrap import Services
from kms_service.service.rewrap import worker as rewrap_worker
from kms_service.settings import Settings
from wiring import FreshDatabase, Original, running_services, settings_for

POOL_SIZE = 10


@pytest.fixture(autouse=True)
def _shorten_idle_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rewrap_worker, "IDLE_SECONDS", 0.05)
    monkeypatch.setattr(rewrap_worker, "WAIT_SECONDS", 0.05)


@pytest.fixture(scope="session")
def first_fleet(fresh_database: FreshDatabase) -> Iterator[Fleet]:
    """Some wallets under the pool's first key, made once; each test has a copy of them and of their KMS."""
    with fresh_database() as url, KmsEndpoint() as kms:
        kms.add_pool(PREFIX, POOL_SIZE)
        with running_services(settings_for(url, kms)) as services:
            fleet = Fleet(services, kms, url, {})
            fleet.grow([f"user-{number:03}" for number in range(SIZE)])
            complete(services.census.take())  # which keys it used, and when
        yield fleet


@pytest.fixture
def original(first_fleet: Fleet) -> Original:
    """Each test's own database has the fleet's wallets, and its KMS their keys."""
    return Original(first_fleet.database_url, first_fleet.kms.account)


@pytest.fixture
def fleet(first_fleet: Fleet, services: Services, kms_endpoint: KmsEndpoint, database_url: str) -> Fleet:
    """Some wallets under the pool's first key."""
    return Fleet(services, kms_endpoint, database_url, dict(first_fleet.addresses))


@pytest.fixture
def worker(settings: Settings) -> Iterator[Callable[[], Services]]:
    """Starts workers, each with services of its own, and stops them at the end."""
    with ExitStack() as stack:

        def start() -> Services:
            services = stack.enter_context(running_services(settings))
            on_loop(services.rewrap_worker.start)
            return services

        yield start
