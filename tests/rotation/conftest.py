"""A fleet of wallets under one key, and workers for it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from event_loop import on_loop
from fleet import SIZE, Fleet
from kms_endpoint import KmsEndpoint
from kms_service.bootstrap import Services
from kms_service.service.rewrap import worker as rewrap_worker
from kms_service.settings import Settings
from wiring import running_services


@pytest.fixture(autouse=True)
def _shorten_idle_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rewrap_worker, "IDLE_SECONDS", 0.05)
    monkeypatch.setattr(rewrap_worker, "WAIT_SECONDS", 0.05)


@pytest.fixture
def fleet(services: Services, kms_endpoint: KmsEndpoint, database_url: str) -> Fleet:
    """Some wallets under the pool's first key."""
    fleet = Fleet(services, kms_endpoint, database_url, {})
    fleet.grow([f"user-{number:03}" for number in range(SIZE)])
    return fleet


@pytest.fixture
def worker(settings: Settings) -> Iterator[Callable[[], Services]]:
    """Starts workers, each with services of its own, and stops them at the end."""
    with ExitStack() as stack:

        def start() -> Services:
            services = stack.enter_context(running_services(settings))
            on_loop(services.rewrap_worker.start)
            return services

        yield start
