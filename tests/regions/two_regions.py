"""Two KMS stand-ins of one account whose pool keys are replicas, and settings that know both."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from kms_endpoint import KmsEndpoint
from kms_service.settings import Settings
from wiring import settings_for

HOME, FALLBACK = "eu-central-1", "eu-west-1"
PREFIX = "Empressa-wallet-key"


@dataclass(frozen=True)
class TwoRegions:
    home: KmsEndpoint
    fallback: KmsEndpoint

    def settings(self, database_url: str, **changes: Any) -> Settings:
        return settings_for(
            database_url,
            self.home,
            kms_fallback_region=FALLBACK,
            kms_fallback_endpoint_url=self.fallback.url,
            **changes,
        )


@contextmanager
def two_regions(keys: int) -> Iterator[TwoRegions]:
    """Both, with so many keys."""
    with KmsEndpoint(region=HOME) as home, KmsEndpoint(region=FALLBACK, account=home.account) as fallback:
        home.add_pool(PREFIX, keys, multi_region=True)
        home.replicate_to(fallback)
        yield TwoRegions(home, fallback)


def there(arn: str) -> str:
    """The ARN of the replica."""
    return arn.replace(HOME, FALLBACK)
