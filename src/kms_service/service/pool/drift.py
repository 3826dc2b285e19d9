"""Checks whether the second Region could replace the first one: compares each key with its replica.

It compares alias, key id, state and rotation and, if these credentials may read them, policy and tags.
Without this, nobody would notice a difference until the second Region is needed.
"""

from collections.abc import AsyncIterator, Sequence

from kms_service.kms.control_plane import key_policy
from kms_service.kms.control_plane.administration import AdministrationFailed, KeyAdministration, KeyFacts
from kms_service.kms.control_plane.inspection import Action, Inspection, Verdict
from kms_service.kms.keys import arn
from kms_service.kms.keys.info import KeyStatus
from kms_service.service.pool.doctor import Check, CheckResult

_REPLICATE = "kms-service pool create-aliases --replicate-to"


class RegionComparison:
    """Compares the pool's keys with their replicas. No check raises.

    Args:
        home: the keys of AWS_REGION.
        there: the keys of KMS_FALLBACK_REGION.
        inspection: asks KMS in KMS_FALLBACK_REGION what is allowed.
        needed: what these credentials must be allowed to do there.
    """

    def __init__(
        self,
        home: KeyAdministration,
        there: KeyAdministration,
        inspection: Inspection,
        needed: Sequence[Action],
    ) -> None:
        self._home = home
        self._there = there
        self._inspection = inspection
        self._needed = needed

    async def examine(self, aliases: Sequence[str]) -> AsyncIterator[Check]:
        """A check of the endpoint, then one for each alias and one for each permission."""
        region = self._there.region
        try:
            reply = await self._inspection.reach(aliases[0])
        except AdministrationFailed as error:
            advice = "Check KMS_FALLBACK_REGION, KMS_FALLBACK_ENDPOINT_URL, DNS and the network path."
            yield Check(f"endpoint in {region}", CheckResult.BAD, error.reason, advice)
            return
        yield Check(f"endpoint in {region}", CheckResult.GOOD, f"answered in {reply.seconds * 1000:.0f} ms")
        replicas = []
        for alias in aliases:
            check, replica = await self._compare(alias)
            yield check
            replicas += [] if replica is None else [replica]
        for action in self._needed if replicas else ():
            yield await self._check_permission(action, replicas)

    async def _compare(self, alias: str) -> tuple[Check, str | None]:
        """The check of one alias, and the ARN of its replica, if it has one."""
        name = f"{alias.removeprefix('alias/')} in {self._there.region}"
        try:
            key = await self._home.facts(alias)
        except AdministrationFailed as error:
            return Check(name, CheckResult.SKIPPED, f"not known in {self._home.region}: {error.reason}"), None
        if not arn.is_multi_region(key.key_arn):
            detail = f"{key.key_arn} is a single-Region key: its wallets open in no other Region"
            return Check(
                name, CheckResult.BAD, detail, f"{_REPLICATE} {self._there.region} says how to move them."
            ), None
        try:
            replica = await self._there.facts(alias)
        except AdministrationFailed as error:
            advice = (
                f"{_REPLICATE} {self._there.region}" if error.missing else "See the key in the AWS console."
            )
            return Check(name, CheckResult.BAD, f"the alias: {error.reason}", advice), None
        found = _drift(key, replica, self._there.region)
        if found:
            advice = (
                f"Make it the same in {self._there.region} as in {self._home.region}, or the other way round."
            )
            return Check(name, CheckResult.BAD, "; ".join(found), advice), replica.key_arn
        rest = _describe_unread(key, replica)
        return Check(name, CheckResult.GOOD, f"same as in {self._home.region}{rest}"), replica.key_arn

    async def _check_permission(self, action: Action, replicas: Sequence[str]) -> Check:
        name = f"may {action} in {self._there.region}"
        for replica in replicas:
            verdict, reason = await self._inspection.asks(action, replica)
            if verdict is not Verdict.ALLOWED:
                detail = f"{verdict}{reason and ': ' + reason} by {replica}"
                advice = f"Name this role in the replica's key policy for {action}."
                return Check(name, CheckResult.BAD, detail, advice)
        return Check(name, CheckResult.GOOD, f"allowed by all {len(replicas)} replicas")


def _describe_unread(*keys: KeyFacts) -> str:
    unread = {
        "policy": any(key.policy is None for key in keys),
        "tags": any(key.tags is None for key in keys),
    }
    names = " and ".join(name for name, is_so in unread.items() if is_so)
    return f"; these credentials may not read {names}" if names else ""


def _drift(key: KeyFacts, replica: KeyFacts, region: str) -> list[str]:
    """How a replica differs from its key, as far as both could be read; empty if it does not."""
    if replica.key_arn != arn.in_region(key.key_arn, region):
        return [f"the alias names another key: {replica.key_arn}"]
    found = []
    if replica.status is not key.status:
        found.append(f"is {replica.status}, and {key.status} in the first Region")
    elif replica.status is not KeyStatus.ACTIVE:
        found.append(f"is {replica.status}: {replica.reason}")
    if key.policy is not None and replica.policy is not None:
        found += [f"the policy {each}" for each in key_policy.differences(key.policy, replica.policy)]
    if key.tags is not None and replica.tags is not None and key.tags != replica.tags:
        names = {name for name, _ in key.tags.items() ^ replica.tags.items()}
        found.append(f"different tags: {', '.join(sorted(names))}")
    if (key.rotation.enabled, key.rotation.period_in_days) != (
        replica.rotation.enabled,
        replica.rotation.period_in_days,
    ):
        found.append("different rotation")
    return found
