"""Everything an operator looks at first. While something is unavailable, it shows what was last known.

Reading and showing are two steps. `read` asks the database. `now` combines what was read last with what the
process itself knows, and neither waits nor fails.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Generic, TypeVar

from kms_service.errors import KmsServiceError
from kms_service.kms.pool import KmsKeyInfo, KmsKeyPool
from kms_service.kms.regions.routes import RegionState
from kms_service.service.audit.trail import AuditTrail
from kms_service.service.pool.state import PoolKey, PoolService, PoolState
from kms_service.service.readiness import Readiness
from kms_service.service.rewrap.jobs import RewrapJobs
from kms_service.service.switches.seal import SealService
from kms_service.store.audit.trail import EventFilter, StoredRow
from kms_service.store.rewrap.jobs import RewrapJob
from kms_service.store.switches.seal import SealChange
from kms_service.telemetry.recent import SAMPLE_SECONDS, History, Recent

READ_SECONDS = SAMPLE_SECONDS
EVENTS = 500
_JOBS = 20
_WAIT_SECONDS = 2.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Part(Generic[T]):
    """One part of the overview that is read from the database.

    Attributes:
        value: as it was at `taken_at`; None if it was never read.
        taken_at: UTC; None if it was never read.
        lost_since: since when it cannot be read, UTC; None while it can be.
    """

    value: T | None = None
    taken_at: datetime | None = None
    lost_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Overview:
    """The service as one process knows it at `at` (UTC).

    Attributes:
        host: the machine or container of this process.
        keys: the pool as of now; its counts of wallets and its last uses are those in `wallets`.
        regions: the Regions of the keys; the one that is asked first comes first.
        wallets: the pool's state as read from the database.
        seal: the last change; if it was read and is None, nobody ever sealed the service.
        rotation: the live job, or else the last one that was not a dry run.
        recent: None until enough was counted.
        database_away_since: when the database last answered, UTC; None while it answers.
    """

    at: datetime
    host: str
    keys: Sequence[PoolKey]
    regions: Sequence[RegionState]
    wallets: Part[PoolState]
    seal: Part[SealChange | None]
    rotation: Part[RewrapJob | None]
    events: Part[Sequence[StoredRow]]
    recent: Recent | None
    database_away_since: datetime | None
    schema_behind: bool
    draining: bool


class Overviews:
    """Reads the parts of an overview, and remembers them."""

    def __init__(
        self,
        pool: KmsKeyPool,
        pool_service: PoolService,
        seal: SealService,
        rewrap_jobs: RewrapJobs,
        trail: AuditTrail,
        readiness: Readiness,
        history: History,
    ) -> None:
        self._pool = pool
        self._pool_service = pool_service
        self._seal_service = seal
        self._rewrap_jobs = rewrap_jobs
        self._trail = trail
        self._readiness = readiness
        self._history = history
        self._lock = asyncio.Lock()
        self._wallets: Part[PoolState] = Part()
        self._seal: Part[SealChange | None] = Part()
        self._rotation: Part[RewrapJob | None] = Part()
        self._events: Part[Sequence[StoredRow]] = Part()

    async def read(self) -> None:
        """Read everything again; a part that cannot be read stays as it was, and is marked.

        If another task is reading, this waits for it, but not for a database that hangs.
        """
        try:
            async with asyncio.timeout(_WAIT_SECONDS):
                await self._lock.acquire()
        except TimeoutError:
            return
        try:
            self._history.sample()
            self._wallets = await self._reread(self._wallets, self._pool_service.state)
            self._seal = await self._reread(self._seal, self._seal_service.state)
            self._rotation = await self._reread(self._rotation, self._latest_rotation)
            self._events = await self._reread(self._events, self._newest_events)
        finally:
            self._lock.release()

    def now(self) -> Overview:
        """The overview of what is known now; waits for nothing."""
        checks = self._readiness.health().checks
        return Overview(
            at=datetime.now(UTC),
            host=socket.gethostname(),
            keys=_join(self._pool.keys, self._wallets.value),
            regions=self._pool.regions,
            wallets=self._wallets,
            seal=self._seal,
            rotation=self._rotation,
            events=self._events,
            recent=self._history.recent(),
            database_away_since=self._readiness.database_away_since,
            schema_behind=checks["migrations"] == "behind",
            draining=self._readiness.draining,
        )

    async def _reread(self, before: Part[T], ask: Callable[[], Awaitable[T]]) -> Part[T]:
        away_since = self._readiness.database_away_since
        if away_since is not None:  # asking would only wait
            return Part(before.value, before.taken_at, before.lost_since or away_since)
        try:
            return Part(await ask(), datetime.now(UTC))
        except KmsServiceError:  # logged and counted where it happened
            return Part(before.value, before.taken_at, before.lost_since or datetime.now(UTC))

    async def _latest_rotation(self) -> RewrapJob | None:
        live = await self._rewrap_jobs.find_live()
        return live or next((job for job in await self._rewrap_jobs.newest(_JOBS) if not job.dry_run), None)

    async def _newest_events(self) -> Sequence[StoredRow]:
        return (await self._trail.page(EventFilter(without_canaries=True), before=None, limit=EVENTS)).events


def _join(keys: Sequence[KmsKeyInfo], state: PoolState | None) -> list[PoolKey]:
    # The keys' states are those of now; the counts may be older.
    counted = {} if state is None else {key.info.key_arn: key for key in state.keys}
    return [replace(counted.get(info.key_arn, PoolKey(info, 0, None)), info=info) for info in keys]
