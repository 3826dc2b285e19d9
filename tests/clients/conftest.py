"""A running service for the clients' tests, and one client of it for each module."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from calling import Service, serving
from chain import python_environment
from kms_endpoint import KmsEndpoint
from kms_service_client import KmsServiceClient
from wiring import FreshDatabase, settings_for


@pytest.fixture(scope="session")
def client_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with what `locks/clients.txt` pins, and nothing of this project."""
    return python_environment(tmp_path_factory.mktemp("clients"))


@pytest.fixture(scope="module")
def service(fresh_database: FreshDatabase) -> Iterator[Service]:
    """Shared by a module's tests: each uses users of its own."""
    with fresh_database() as url, KmsEndpoint() as endpoint:
        endpoint.add_pool("Empressa-wallet-key", 10)
        with serving(settings_for(url, endpoint), endpoint) as service:
            yield service


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[KmsServiceClient]:
    """A client with every scope."""
    with KmsServiceClient(str(service.client.base_url), service.token) as client:
        yield client
