"""Starts, shows and steers rotations for operators: jobs that move wallets from some keys to others."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID, uuid4

from kms_service.access.scopes import Caller
from kms_service.errors import (
    AuditUnavailable,
    InvalidRequest,
    KmsKeyUnusable,
    NoUsableKey,
    RewrapJobFinished,
    RewrapJobNotFound,
    RewrapJobRunning,
)
from kms_service.kms.aws import AwsKmsService
from kms_service.kms.keys import arn
from kms_service.kms.pool import DescribedKey, KmsKeyPool
from kms_service.service.audit.log import AuditLog, Event
from kms_service.service.pool.key_names import names_of
from kms_service.store.postgres.times import EARLIEST
from kms_service.store.rewrap.jobs import (
    LIVE,
    NewRewrapJob,
    RewrapFailure,
    RewrapJob,
    RewrapJobStore,
    RewrapStatus,
)

DEFAULT_RATE = 500.0
MAX_RATE = 10_000.0


@dataclass(frozen=True, slots=True)
class RewrapRequest:
    """What an operator asks for; exactly one of `sources` and `wrapped_before` is set.

    Attributes:
        sources: keys to empty, each an ARN, or an alias with or without `alias/`.
        wrapped_before: move all wallets whose DEK was wrapped before this time, whatever their key.
        destinations: aliases of the pool; None for all keys that take new wallets.
        dry_run: only count, and change nothing.
        rate_per_second: KMS calls per second, over all workers.
    """

    sources: Sequence[str] | None
    wrapped_before: datetime | None
    destinations: Sequence[str] | None
    dry_run: bool
    rate_per_second: float


class RewrapJobs:
    """Starts, shows and steers rotations; workers carry them out.

    Every method raises DatabaseUnavailable when PostgreSQL does not answer. Those that change something raise
    AuditUnavailable when the change could not be recorded.
    """

    def __init__(
        self, store: RewrapJobStore, kms: AwsKmsService, pool: KmsKeyPool, audit: AuditLog, region: str
    ) -> None:
        self._store = store
        self._kms = kms
        self._pool = pool
        self._audit = audit
        self._region = region

    async def start(self, caller: Caller, request: RewrapRequest) -> RewrapJob:
        """Store a job for the workers; for a dry run, only count the wallets.

        Raises:
            InvalidRequest: a key or a time cannot be used; names the field.
            NoUsableKey: no key of the pool could take the wallets.
            RewrapJobRunning: another job is live.
            KmsThrottled, KmsUnavailable: an alias outside the pool could not be looked up.
            AuditUnavailable: the start could not be recorded, so the job is cancelled.
        """
        rotation_id = uuid4()
        async with self._audit.refusals(caller, Event("rotation.start", detail=str(rotation_id))):
            if not request.dry_run and await self._store.find_live() is not None:
                raise RewrapJobRunning(_RUNNING)
            job = await self._store.insert(await self._resolve(caller, rotation_id, request))
            if job is None:
                raise RewrapJobRunning(_RUNNING)
        await self._record_start(caller, job)
        return job

    async def newest(self, limit: int) -> list[RewrapJob]:
        """The last `limit` jobs, newest first."""
        return await self._store.newest(limit)

    async def find(self, rotation_id: UUID) -> RewrapJob:
        """The job with this id.

        Raises:
            RewrapJobNotFound: there is none.
        """
        job = await self._store.find(rotation_id)
        if job is None:
            raise RewrapJobNotFound("There is no such rotation.")
        return job

    async def find_live(self) -> RewrapJob | None:
        """The job that is pending, running or paused; None if there is none."""
        return await self._store.find_live()

    async def failures(self, rotation_id: UUID, *, limit: int, after: str) -> list[RewrapFailure]:
        """Up to `limit` wallets that a job could not move, after user `after`, in order of user id.

        Raises:
            RewrapJobNotFound: no job has this id.
        """
        return await self._store.failures(
            (await self.find(rotation_id)).rotation_id, limit=limit, after=after
        )

    async def key_arn(self, name: str) -> str:
        """The ARN of a key, given by ARN, or by alias with or without `alias/`; it need not be in the pool.

        Raises:
            InvalidRequest: this names no key in this Region.
            KmsThrottled, KmsUnavailable: an alias outside the pool could not be looked up.
        """
        if name.startswith("arn:"):
            if arn.region(arn.in_region(name, self._region)) != self._region:
                raise InvalidRequest("is not the ARN of a key in this Region", "sources")
            return name
        key = self._pool.find(name)
        if isinstance(key, DescribedKey):
            return key.key_arn
        try:
            return (await self._kms.describe(f"alias/{name.removeprefix('alias/')}")).arn
        except KmsKeyUnusable:
            raise InvalidRequest(
                "names no key that KMS knows and this role may describe; give its ARN instead", "sources"
            ) from None

    async def pause(self, caller: Caller, rotation_id: UUID) -> RewrapJob:
        """Have the workers stop after the rounds under way; safe to repeat.

        Raises:
            RewrapJobNotFound: no job has this id.
            RewrapJobFinished: the job has ended.
        """
        return await self._steer(caller, "rotation.pause", rotation_id, RewrapStatus.PAUSED)

    async def resume(self, caller: Caller, rotation_id: UUID) -> RewrapJob:
        """Have the workers go on; safe to repeat. Raises as `pause`."""
        return await self._steer(caller, "rotation.resume", rotation_id, RewrapStatus.RUNNING)

    async def cancel(self, caller: Caller, rotation_id: UUID) -> RewrapJob:
        """End the job; wallets moved so far stay moved. Safe to repeat. Raises as `pause`."""
        return await self._steer(caller, "rotation.cancel", rotation_id, RewrapStatus.CANCELLED)

    async def _steer(self, caller: Caller, action: str, rotation_id: UUID, to: RewrapStatus) -> RewrapJob:
        event = Event(action, detail=str(rotation_id))
        async with self._audit.refusals(caller, event):
            job = await self._store.transition(rotation_id, to, only_from=_FROM[to]) or await self.find(
                rotation_id
            )
            if not job.live and job.status is not to:
                raise RewrapJobFinished(f"The rotation has ended: {job.status}.")
        # Recorded afterwards: stopping a job must not wait for the audit log.
        await self._audit.record(caller, event)
        return job

    async def _record_start(self, caller: Caller, job: RewrapJob) -> None:
        try:
            await self._audit.record(caller, Event("rotation.start", detail=_summary(job)))
        except AuditUnavailable:
            await self._store.transition(job.rotation_id, RewrapStatus.CANCELLED, only_from=LIVE)
            raise

    async def _resolve(self, caller: Caller, rotation_id: UUID, request: RewrapRequest) -> NewRewrapJob:
        sources = await self._sources(request)
        destinations = self._destinations(request, sources)
        return NewRewrapJob(
            rotation_id=rotation_id,
            dry_run=request.dry_run,
            sources=sources,
            wrapped_before=request.wrapped_before,
            destinations=destinations,
            rate_per_second=request.rate_per_second,
            created_by=caller.name,
            total=await self._store.count_due(sources, request.wrapped_before),
        )

    async def _sources(self, request: RewrapRequest) -> tuple[str, ...]:
        if request.sources is not None:
            named = [await self.key_arn(name) for name in request.sources]
            by_rows = [each for key in named for each in await names_of(key, self._pool, self._store)]
            return tuple(dict.fromkeys(by_rows))
        if request.wrapped_before is None or not EARLIEST <= request.wrapped_before <= datetime.now(UTC):
            raise InvalidRequest("is before 1970 or in the future", "wrapped_before")
        in_use = await self._store.keys_in_use()
        here = {None, self._region}
        return tuple(each for each in in_use if arn.is_multi_region(each) or arn.region(each) in here)

    def _destinations(self, request: RewrapRequest, sources: Sequence[str]) -> tuple[str, ...]:
        emptied = frozenset(() if request.sources is None else sources)
        if request.destinations is None:
            found = [key.key_arn for key in self._pool.wrapping if key.key_arn not in emptied]
            if not found:
                raise NoUsableKey(
                    self._pool.reasons | dict.fromkeys(self._aliases(emptied), "is to be emptied")
                )
            return tuple(found)
        return tuple(dict.fromkeys(self._destination(name, emptied) for name in request.destinations))

    def _destination(self, name: str, emptied: frozenset[str]) -> str:
        key = self._pool.find(name)
        if key is None:
            raise InvalidRequest("names no key of the pool", "destinations")
        if not (isinstance(key, DescribedKey) and key.wraps):
            raise InvalidRequest(
                f"{key.alias} takes no wallets now: {key.reason or key.mode}", "destinations"
            )
        if key.key_arn in emptied:
            raise InvalidRequest(f"{key.alias} is to be emptied by the same rotation", "destinations")
        return key.key_arn

    def _aliases(self, arns: frozenset[str]) -> list[str]:
        return [key.alias for key in self._pool.keys if key.key_arn in arns]


_RUNNING = "Another rotation is pending, running or paused; one runs at a time."
_FROM = {
    RewrapStatus.PAUSED: (RewrapStatus.PENDING, RewrapStatus.RUNNING),
    RewrapStatus.RUNNING: (RewrapStatus.PAUSED,),
    RewrapStatus.CANCELLED: LIVE,
}


def _summary(job: RewrapJob) -> str:
    what = "dry run of" if job.dry_run else "moving"
    since = "" if job.wrapped_before is None else f" wrapped before {job.wrapped_before.isoformat()}"
    keys = f"from {' '.join(job.sources)} to {len(job.destinations)} keys"
    return f"{job.rotation_id}: {what} {job.total} wallets{since} {keys}"[:1024]
