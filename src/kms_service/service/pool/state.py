"""Shows the key pool to operators, and lets them steer it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from kms_service.access.scopes import Caller
from kms_service.errors import KeyNotFound, LastActiveKey
from kms_service.kms.pool import KeyMode, KmsKeyInfo, KmsKeyPool
from kms_service.kms.regions.routes import RegionState
from kms_service.service.audit.log import AuditLog, Event
from kms_service.service.pool.census import Census
from kms_service.service.pool.materials import SHARE_WHEN_ASKED, MaterialCensus
from kms_service.service.switches.poll import SharedStatePoll
from kms_service.store.pool.census import KeyCensus
from kms_service.store.pool.materials import MaterialCount
from kms_service.store.pool.modes import PoolKeyStore


@dataclass(frozen=True, slots=True)
class PoolKey:
    """A key of the pool, the wallets under it, and when any replica last used it (UTC).

    Attributes:
        materials: the wallets by version of the key's material, oldest first, as last counted; empty if KMS
            does not return the key's rotations.
        share: the share of all wallets, 0 to 1, that would be lost with this key.
    """

    info: KmsKeyInfo
    wallets: int
    last_used_at: datetime | None
    materials: Sequence[MaterialCount] = ()
    share: float = 0.0


@dataclass(frozen=True, slots=True)
class PoolState:
    """The pool's keys by number, other keys that have wallets or were used, and the Regions."""

    keys: Sequence[PoolKey]
    others: Sequence[KeyCensus]
    regions: Sequence[RegionState]


class PoolService:
    """Shows and steers the pool.

    Every method raises DatabaseUnavailable when PostgreSQL does not answer. `set_mode` raises
    AuditUnavailable when the change could not be recorded: it may be in force, and repeating it records it.
    """

    def __init__(
        self,
        pool: KmsKeyPool,
        store: PoolKeyStore,
        census: Census,
        materials: MaterialCensus,
        shared_state: SharedStatePoll,
        audit: AuditLog,
    ) -> None:
        self._pool = pool
        self._store = store
        self._census = census
        self._materials = materials
        self._shared_state = shared_state
        self._audit = audit

    async def state(self) -> PoolState:
        """The pool as this replica sees it, with what all replicas know of each key; KMS is not asked."""
        census = await self._census.read()
        materials = await self._materials.read()
        wallets = sum(each.wallets or 0 for each in census.values())
        keys = [
            _join(info, census.pop(info.key_arn or "", None), materials.get(info.key_arn or "", []), wallets)
            for info in self._pool.keys
        ]
        return PoolState(keys, [census[arn] for arn in sorted(census)], self._pool.regions)

    async def refresh(self) -> PoolState:
        """The pool after describing every alias again."""
        await self._pool.refresh()
        await self._shared_state.poll()
        await self._materials.count(share_of_time=SHARE_WHEN_ASKED)
        return await self.state()

    async def set_mode(self, caller: Caller, name: str, mode: KeyMode) -> PoolKey:
        """Drain or activate the key with this alias (without `alias/`), on all replicas and over restarts.

        Raises:
            KeyNotFound: no key of the pool has this alias.
            LastActiveKey: no other key would take new wallets.
        """
        action = "pool.drain" if mode is KeyMode.DRAINING else "pool.activate"
        async with self._audit.refusals(caller, Event(action, detail=f"alias/{name}"[:1024])):
            key = self._find(name)
            async with self._store.change() as change:
                if mode is KeyMode.DRAINING:
                    self._require_another(key, change.draining)
                await change.set(key.alias, mode)
        await self._audit.record(caller, Event(action, kms_key_id=key.key_arn, detail=key.alias))
        await self._shared_state.poll()
        return next(each for each in (await self.state()).keys if each.info.alias == key.alias)

    def _find(self, name: str) -> KmsKeyInfo:
        key = self._pool.find(name)
        if key is None:
            raise KeyNotFound
        return key

    def _require_another(self, key: KmsKeyInfo, draining: frozenset[str]) -> None:
        others = (other for other in self._pool.keys if other.alias != key.alias)
        if not any(other.usable and other.alias not in draining for other in others):
            raise LastActiveKey


def _join(
    info: KmsKeyInfo, census: KeyCensus | None, materials: Sequence[MaterialCount], all_wallets: int
) -> PoolKey:
    if census is None:
        return PoolKey(info, 0, None, materials)
    wallets = census.wallets or 0
    return PoolKey(info, wallets, census.last_used_at, materials, wallets / max(all_wallets, 1))
