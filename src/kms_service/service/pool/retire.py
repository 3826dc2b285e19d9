"""Says when a key may be retired, and rotates keys on demand."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from kms_service.access.scopes import Caller
from kms_service.errors import KeyNotFound
from kms_service.kms.control_plane.administration import AdministrationFailed, KeyAdministration
from kms_service.kms.keys import arn
from kms_service.kms.pool import DescribedKey, KeyMode, KmsKeyInfo, KmsKeyPool
from kms_service.quantity import quantity
from kms_service.service.audit.log import AuditLog, Event
from kms_service.service.pool.census import Census
from kms_service.service.pool.key_names import names_of
from kms_service.service.row_macs import wrapping_keys
from kms_service.store.audit.chain_keys import AuditChainKeyStore
from kms_service.store.rewrap.jobs import RewrapJobStore
from kms_service.store.row_mac_keys import RowMacKeyStore


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition for retiring a key: whether it holds, what was found, and how to make it hold."""

    holds: bool
    finding: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Retirement:
    """Whether a key may be retired, by condition; all of them must hold."""

    key_arn: str
    alias: str | None
    conditions: list[Condition]

    @property
    def safe(self) -> bool:
        """Whether disabling the key loses nothing, as far as this service knows."""
        return all(condition.holds for condition in self.conditions)


class KeyLifecycle:
    """Judges whether a key may be retired, and rotates keys. It never disables or deletes a key.

    Every method raises DatabaseUnavailable when PostgreSQL does not answer.
    """

    def __init__(
        self,
        pool: KmsKeyPool,
        administrations: Sequence[KeyAdministration],
        census: Census,
        chain_keys: AuditChainKeyStore,
        row_mac_keys: RowMacKeyStore,
        jobs: RewrapJobStore,
        audit: AuditLog,
    ) -> None:
        self._pool = pool
        self._administrations = administrations
        self._census = census
        self._chain_keys = chain_keys
        self._row_mac_keys = row_mac_keys
        self._jobs = jobs
        self._audit = audit

    async def retirement(self, name: str, *, unused_for: timedelta) -> Retirement:
        """Which conditions for retiring a key hold; reads the key's part of an index, and changes nothing.

        Args:
            name: an alias of the pool with or without `alias/`, or the ARN of any key.
            unused_for: how long ago the key's last use must be.

        Raises:
            KeyNotFound: no key of the pool has this alias, and it is not an ARN.
        """
        key = next((key for key in self._pool.keys if name in {key.alias, key.name, key.key_arn}), None)
        key_arn = name if key is None and arn.is_key(name) else None if key is None else key.key_arn
        if key_arn is None:
            raise KeyNotFound
        names = await names_of(key_arn, self._pool, self._jobs)
        conditions = [
            self._takes_no_wallets(key),
            await self._holds_no_wallets(key_arn, names),
            await self._holds_no_audit_chains(key_arn, names),
            await self._holds_no_row_mac_keys(key_arn, names),
            await self._is_in_no_rotation(names),
            await self._is_unused(key_arn, unused_for),
        ]
        return Retirement(key_arn, None if key is None else key.alias, conditions)

    async def rotate(self, caller: Caller, name: str) -> DescribedKey:
        """Have KMS rotate the material of a key of the pool now; stored wallets stay under the old material.

        Raises:
            KeyNotFound: no key of the pool has this alias.
            AdministrationFailed: KMS refused, as after 25 on-demand rotations of one key.
            AuditUnavailable: the key was rotated, and that is not on record.
        """
        key = self._pool.find(name)
        if not isinstance(key, DescribedKey):
            raise KeyNotFound
        event = Event("pool.rotate", kms_key_id=key.key_arn, detail=key.alias)
        async with self._audit.refusals(caller, event):
            await self._administrations[0].rotate_now(key.key_arn)
        await self._audit.record(caller, event)
        return key

    def _takes_no_wallets(self, key: KmsKeyInfo | None) -> Condition:
        if key is None:
            return Condition(True, "is not in the pool, so it takes no new wallets")
        if key.mode is KeyMode.DRAINING:
            return Condition(True, "is draining, so it takes no new wallets")
        return Condition(False, "takes new wallets", f"kms-service pool drain {key.name}")

    async def _holds_no_wallets(self, key_arn: str, names: Sequence[str]) -> Condition:
        wallets = await self._jobs.count_due(names, None)
        if not wallets:
            return Condition(True, "no wallet is under it")
        remedy = f"kms-service rotation start --from {key_arn} --no-dry-run"
        return Condition(False, f"wallets under it: {wallets:,}", remedy)

    async def _holds_no_audit_chains(self, key_arn: str, names: Sequence[str]) -> Condition:
        if not await self._chain_keys.list_under(names, limit=1):
            return Condition(True, "no audit chain's key is wrapped by it")
        remedy = (
            f"kms-service rotation start --from {key_arn} --no-dry-run moves them; a process that started "
            "before the drain may open more, so restart the service first"
        )
        return Condition(False, "keys of audit chains are wrapped by it", remedy)

    async def _holds_no_row_mac_keys(self, key_arn: str, names: Sequence[str]) -> Condition:
        usable = {key.key_arn for key in self._pool.described if key.usable}.difference(names)
        for key in await self._row_mac_keys.read():
            holding = wrapping_keys(key, self._pool.regions[0].name)
            if holding.intersection(names) and not holding.intersection(usable):
                remedy = f"kms-service rotation start --from {key_arn} --no-dry-run moves it"
                return Condition(
                    False, "it alone wraps a key of row MACs: no address could be returned", remedy
                )
        return Condition(True, "no key of row MACs is wrapped by it alone")

    async def _is_in_no_rotation(self, names: Sequence[str]) -> Condition:
        job = await self._jobs.find_live()
        if job is None or {*job.sources, *job.destinations}.isdisjoint(names):
            return Condition(True, "no rotation is moving wallets from or to it")
        return Condition(
            False, f"rotation {job.rotation_id} moves wallets from or to it", "wait until it has ended"
        )

    async def _is_unused(self, key_arn: str, unused_for: timedelta) -> Condition:
        census = (await self._census.read()).get(key_arn)
        own = None if census is None else census.last_used_at
        seen, source, told = await self._last_usage(key_arn)
        last = max((at for at in (own, seen) if at is not None), default=None)
        if last is None and not told:
            # Somebody may have emptied the census: an unknown last use does not mean that there was none.
            remedy = "let this login call kms:GetKeyLastUsage, or look for the key in CloudTrail"
            return Condition(False, f"its last use is unknown, {source}", remedy)
        if last is None:
            return Condition(True, f"has never been used, {source}")
        days = quantity(unused_for.days, "day", "days")
        if datetime.now(UTC) - last > unused_for:
            return Condition(True, f"was last used on {last:%Y-%m-%d}, over {days} ago, {source}")
        remedy = f"wait until it has not been used for {days}; CloudTrail shows who uses it"
        return Condition(False, f"was last used on {last:%Y-%m-%d %H:%M} UTC, {source}", remedy)

    async def _last_usage(self, key_arn: str) -> tuple[datetime | None, str, bool]:
        """The last use by KMS's records, whose records were asked, and whether KMS answered at all."""
        try:
            # Each Region knows only of the uses there.
            asked = self._administrations if arn.is_multi_region(key_arn) else self._administrations[:1]
            seen = [await each.last_usage(arn.in_region(key_arn, each.region)) for each in asked]
        except AdministrationFailed as error:
            return None, f"going by this service's records only (GetKeyLastUsage: {error.reason})", False
        last = max((at for at in seen if at is not None), default=None)
        return last, "going by this service's records and KMS's", True
