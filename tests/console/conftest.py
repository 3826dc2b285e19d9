"""A running service with the operator page."""

from collections.abc import Iterator

import pytest

from calling import Service, serving
from kms_endpoint import KmsEndpoint
from wiring import FreshDatabase, settings_for


@pytest.fixture(scope="module")
def console(fresh_database: FreshDatabase) -> Iterator[Service]:
    """Shared by a module's tests: each leaves it as it was."""
    with fresh_database() as url, KmsEndpoint() as endpoint:
        endpoint.add_pool("Empressa-wallet-key", 10)
        settings = settings_for(url, endpoint, console_enabled=True, rotation_worker_enabled=False)
        with serving(settings, endpoint) as service:
            yield service
