"""A running service: one for a whole module, or one for a test that breaks things."""

from collections.abc import Iterator

import pytest

from calling import Service, serving
from kms_endpoint import KmsEndpoint
from kms_service.settings import Settings
from wiring import FreshDatabase, settings_for


@pytest.fixture(scope="module")
def service(fresh_database: FreshDatabase) -> Iterator[Service]:
    """Shared by a module's tests: each uses users of its own and leaves KMS as it was."""
    with fresh_database() as url, KmsEndpoint() as endpoint:
        endpoint.add_pool("Empressa-wallet-key", 10)
        with serving(settings_for(url, endpoint), endpoint) as service:
            yield service


@pytest.fixture
def own_service(settings: Settings, kms_endpoint: KmsEndpoint) -> Iterator[Service]:
    """A service for one test alone."""
    with serving(settings, kms_endpoint) as service:
        yield service
