"""A running service: one for a whole module, or one for a test that breaks things."""

from collections.abc import Iterator

import pytest

from calling import Service, serving
from kms_endpoint import KmsEndpoint
from kms_service.settings import Settings
from wiring import FreshDatabase, Original, settings_for


@pytest.fixture(scope="session")
def first_service(fresh_database: FreshDatabase) -> Iterator[Service]:
    """A service that has ended; each test that needs one of its own has a copy of its database and KMS."""
    with fresh_database() as url, KmsEndpoint() as endpoint:
        endpoint.add_pool("Empressa-wallet-key", 10)
        with serving(settings_for(url, endpoint), endpoint) as service:
            pass
        yield service


@pytest.fixture
def original(first_service: Service) -> Original:
    """Each test's own database has the first service's token, and its KMS the keys."""
    url = first_service.services.settings.database_url.get_secret_value()
    return Original(url, first_service.kms.account)


@pytest.fixture(scope="module")
def service(fresh_database: FreshDatabase) -> Iterator[Service]:
    """Shared by a module's tests: each uses users of its own and leaves KMS as it was."""
    with fresh_database() as url, KmsEndpoint() as endpoint:
        endpoint.add_pool("Empressa-wallet-key", 10)
        with serving(settings_for(url, endpoint), endpoint) as service:
            yield service


@pytest.fixture
def own_service(settings: Settings, kms_endpoint: KmsEndpoint, first_service: Service) -> Iterator[Service]:
    """A service for one test alone."""
    with serving(settings, kms_endpoint, first_service.token) as service:
        yield service
