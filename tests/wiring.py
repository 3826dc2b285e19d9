"""The service put together on a test's own database and KMS, for fixtures of any scope."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from kms_endpoint import KmsEndpoint
from kms_service.bootstrap import Services, build
from kms_service.settings import Settings

FreshDatabase = Callable[[], AbstractContextManager[str]]
"""A context that gives the URL of a new, migrated database and drops it at the end."""


def settings_for(database_url: str, endpoint: KmsEndpoint, **changes: Any) -> Settings:
    """The settings of a service on these two, with `changes` by field name."""
    return Settings(
        _env_file=None,
        aws_region=endpoint.region,
        aws_access_key_id="test",
        aws_secret_access_key="test",
        aws_endpoint_url_kms=endpoint.url,
        database_url=database_url,
        **changes,
    )


@contextmanager
def running_services(settings: Settings) -> Iterator[Services]:
    """A process's services, checked as at start, without their background work."""
    services = build(settings)
    try:
        services.check()
        yield services
    finally:
        services.close()
