"""A running service for the clients' tests, and one client of it for each module."""

from collections.abc import Iterator

import pytest

from calling import Service, serving
from kms_endpoint import KmsEndpoint
from kms_service_client import KmsServiceClient
from wiring import FreshDatabase, settings_for


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
