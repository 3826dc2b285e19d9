"""Counts the wallets under each version of a key's material, as rotating a key leaves them behind.

Rotating a key in KMS changes what it wraps with, but nothing that is already wrapped. `kms-service rotation
start --wrapped-before` moves older wallets to the current material.
"""

from collections.abc import Sequence

from kms_service.errors import DatabaseUnavailable, KmsError
from kms_service.kms.aws import AwsKmsService
from kms_service.kms.keys import arn
from kms_service.kms.pool import KmsKeyPool
from kms_service.store.pool.materials import KeyMaterialStore, MaterialCount, Version
from kms_service.telemetry import metrics
from kms_service.telemetry.logs import get_logger

LOOK_SECONDS = 600.0
SHARE_WHEN_ASKED = 20
_SHARE_OF_TIME = 100

log = get_logger()


class MaterialCensus:
    """Maintains the counts by material that all replicas share, and reads them."""

    def __init__(self, store: KeyMaterialStore, kms: AwsKmsService, pool: KmsKeyPool) -> None:
        self._store = store
        self._kms = kms
        self._pool = pool

    async def take(self) -> None:
        """Ask KMS for the keys' rotations, count if that is due, set the gauges; run every ten minutes."""
        try:
            await self.count(share_of_time=_SHARE_OF_TIME)
            counts = await self._store.read()
        except DatabaseUnavailable:
            return  # logged where it happened; the next run comes soon
        for key in self._pool.keys:
            found = counts.get(key.key_arn or "")
            if found is not None:
                metrics.stale_wallets.labels(key.alias).set(count_behind(found))

    async def count(self, *, share_of_time: int) -> None:
        """Count, unless less than `share_of_time` times the duration of the last count has passed since then.

        A key is left out if KMS does not return its rotations.

        Raises:
            DatabaseUnavailable: PostgreSQL does not answer.
        """
        keys: dict[str, list[Version]] = {}
        for key in self._pool.keys:
            if key.key_arn is None:
                continue
            try:
                found = await self._kms.materials(key.key_arn)
            except KmsError as error:
                log.debug("rotations_unknown", key=key.alias, reason=error.reason)
                continue
            keys[key.key_arn] = [Version(each.material_id, each.current_since) for each in found]
        if keys:
            regions = [region.name for region in self._pool.regions]
            names = {key: sorted({arn.in_region(key, region) for region in regions}) for key in keys}
            await self._store.count(keys, names, share_of_time=share_of_time)

    async def read(self) -> dict[str, list[MaterialCount]]:
        """The counts for each key ARN, oldest version first.

        Raises:
            DatabaseUnavailable: PostgreSQL does not answer.
        """
        return await self._store.read()


def count_behind(counts: Sequence[MaterialCount]) -> int:
    """How many wallets were wrapped before their key's last rotation."""
    return sum(count.wallets for count in counts[:-1])
