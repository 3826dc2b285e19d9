"""Replicates the pool's keys to a second Region. It is safe to repeat, and changes no key that is there.

The order is ReplicateKey with the primary's policy and tags, then CreateAlias. If a run dies in between, the
next one finds the replica by its key id, which is the primary's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from kms_service.kms.control_plane.administration import KeyAdministration
from kms_service.kms.control_plane.failure import AdministrationFailed
from kms_service.kms.keys import arn


class ReplicaStep(StrEnum):
    """What must be done for an alias in the second Region."""

    REPLICATE = "replicate"
    """There is no replica yet."""
    NAME = "name"
    """There is a replica, but not the alias."""
    KEEP = "keep"
    """Replica and alias are there."""
    REFUSE = "refuse"
    """It cannot be done; `reason` says why."""


@dataclass(frozen=True, slots=True)
class PlannedReplica:
    """What one key of the pool needs in the second Region.

    Attributes:
        alias: `alias/…`, the same in both Regions.
        step: what must be done.
        primary_arn: the key in the first Region; None if it is still to be made.
        replica_arn: the replica's ARN, whether it exists or not; None while it is not known.
        reason: why it is refused; else empty.
    """

    alias: str
    step: ReplicaStep
    primary_arn: str | None
    replica_arn: str | None
    reason: str = ""


class Replication:
    """Plans and makes replicas. Every method raises AdministrationFailed when KMS does not do as asked.

    Args:
        home: the keys of the Region with the primary keys.
        there: the keys of the Region that gets the replicas.
    """

    def __init__(self, home: KeyAdministration, there: KeyAdministration) -> None:
        self._home = home
        self._there = there

    async def plan(
        self, keys: Sequence[tuple[str, str | None]], advance: Callable[[], None]
    ) -> list[PlannedReplica]:
        """What each of these keys needs; changes nothing.

        Args:
            keys: aliases with the ARNs of their keys; None if a dry run has made no key.
            advance: called after each key.
        """
        named = await self._there.aliases()
        planned = []
        for alias, primary_arn in keys:
            planned.append(await self._plan(alias, primary_arn, named.get(alias)))
            advance()
        return planned

    async def carry_out(self, planned: PlannedReplica) -> None:
        """Do what one key needs.

        Raises:
            ValueError: the key itself is still to be made, or cannot have a replica.
        """
        if planned.primary_arn is None or planned.replica_arn is None:
            raise ValueError("a key is made before its replica")
        if planned.step is ReplicaStep.REPLICATE:
            found = await self._home.inspect(planned.primary_arn)
            await self._home.replicate(found, self._there.region)
            await self._there.wait_until_made(planned.replica_arn)
        if planned.step in (ReplicaStep.REPLICATE, ReplicaStep.NAME):
            await self._there.create_alias(planned.alias, planned.replica_arn)

    async def _plan(self, alias: str, primary_arn: str | None, named: str | None) -> PlannedReplica:
        if primary_arn is None:
            return PlannedReplica(alias, ReplicaStep.REPLICATE, None, None)
        replica_arn = arn.in_region(primary_arn, self._there.region)
        if not arn.is_multi_region(primary_arn):
            reason = f"is a single-Region key of {self._home.region}, which KMS cannot make multi-Region"
            return PlannedReplica(alias, ReplicaStep.REFUSE, primary_arn, None, reason)
        key_id = replica_arn.rpartition("/")[2]
        if named not in (None, key_id):
            reason = f"names another key in {self._there.region}: {named}"
            return PlannedReplica(alias, ReplicaStep.REFUSE, primary_arn, replica_arn, reason)
        if named == key_id:
            return PlannedReplica(alias, ReplicaStep.KEEP, primary_arn, replica_arn)
        step = ReplicaStep.NAME if await self._is_there(replica_arn) else ReplicaStep.REPLICATE
        return PlannedReplica(alias, step, primary_arn, replica_arn)

    async def _is_there(self, replica_arn: str) -> bool:
        try:
            await self._there.state(replica_arn)
        except AdministrationFailed as error:
            if error.missing:
                return False
            raise
        return True
