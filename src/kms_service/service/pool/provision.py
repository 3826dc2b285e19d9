"""Makes the pool's keys. It is safe to repeat after any step, and never changes a key that it did not make.

The order is CreateKey with tags and policy, CreateAlias, EnableKeyRotation. If a run dies in between, the
next one recognises the key by its tag and completes it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from kms_service.kms.control_plane import key_policy
from kms_service.kms.control_plane.administration import FoundKey, KeyAdministration
from kms_service.kms.keys.info import KeyStatus

# The value is the alias that the key was made for.
TAG = "kms-service:alias"
LEAST_DAYS, MOST_DAYS, DEFAULT_DAYS = 90, 2560, 365


class Step(StrEnum):
    """What must be done for an alias."""

    CREATE = "create"
    """There is neither key nor alias."""
    COMPLETE = "complete"
    """An earlier run made the key, but died before it had its alias or rotation."""
    ADOPT = "adopt"
    """The alias already names a key, which is left as it is."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """How each key must be.

    Attributes:
        aliases: `alias/…`, one for each key.
        period_in_days: of automatic rotation, 90 to 2560.
        policy: the key policy; None for KMS's default, under which IAM alone decides.
        multi_region: whether new keys can have replicas in other Regions; KMS never changes it.
    """

    aliases: Sequence[str]
    period_in_days: int
    policy: dict[str, Any] | None
    multi_region: bool


@dataclass(frozen=True, slots=True)
class PlannedKey:
    """What one alias needs; `differences` says how an adopted key differs from what is wanted."""

    alias: str
    step: Step
    key_arn: str | None
    has_alias: bool = False
    differences: tuple[str, ...] = ()


class Provisioning:
    """Plans and makes keys. Every method raises AdministrationFailed when KMS does not do as asked."""

    def __init__(self, administration: KeyAdministration, wanted: Wanted) -> None:
        self._administration = administration
        self._wanted = wanted

    async def plan(self, advance: Callable[[], None]) -> list[PlannedKey]:
        """What each alias needs; changes nothing, and calls `advance` after each alias."""
        named = await self._administration.aliases()
        missing = any(alias not in named for alias in self._wanted.aliases)
        orphans = await self._administration.find_tagged_without_alias(TAG) if missing else {}
        planned = []
        for alias in self._wanted.aliases:
            planned.append(await self._plan(alias, named.get(alias), orphans.get(alias)))
            advance()
        return planned

    async def carry_out(self, key: PlannedKey) -> str:
        """Do what one alias needs; returns the ARN of its key."""
        if key.step is Step.ADOPT and key.key_arn is not None:
            return key.key_arn
        key_arn = key.key_arn or await self._administration.create_key(
            f"kms-service: DEKs of {key.alias}",
            self._tags(key.alias),
            self._wanted.policy,
            multi_region=self._wanted.multi_region,
        )
        if not key.has_alias:
            await self._administration.create_alias(key.alias, key_arn)
        await self._administration.enable_rotation(key_arn, self._wanted.period_in_days)
        return key_arn

    async def _plan(self, alias: str, named: str | None, orphan: str | None) -> PlannedKey:
        if named is None:
            return PlannedKey(alias, Step.CREATE if orphan is None else Step.COMPLETE, orphan)
        found = await self._administration.inspect(named)
        if _is_made_here(found, alias) and found.rotation.off and found.status is KeyStatus.ACTIVE:
            return PlannedKey(alias, Step.COMPLETE, found.key_arn, has_alias=True)
        return PlannedKey(
            alias, Step.ADOPT, found.key_arn, has_alias=True, differences=tuple(self._differences(found))
        )

    def _differences(self, found: FoundKey) -> list[str]:
        differences = []
        if found.status is not KeyStatus.ACTIVE:
            differences.append(f"the key is not usable: {found.reason}")
        if not found.rotation.supported:
            differences.append("KMS cannot rotate it: imported material or a custom key store")
        elif not found.rotation.enabled:
            differences.append("automatic rotation is off")
        elif (found.rotation.period_in_days or DEFAULT_DAYS) != self._wanted.period_in_days:
            differences.append(
                f"rotates every {found.rotation.period_in_days} days, not {self._wanted.period_in_days}"
            )
        if self._wanted.policy is not None:
            statements = key_policy.differences(self._wanted.policy, found.policy)
            differences += [f"the policy {statement}" for statement in statements]
        return differences

    def _tags(self, alias: str) -> dict[str, str]:
        return {TAG: alias, "Application": "kms-service"}


def _is_made_here(found: FoundKey, alias: str) -> bool:
    return found.tags.get(TAG) == alias
