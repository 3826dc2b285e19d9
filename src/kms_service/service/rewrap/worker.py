"""The worker of rotations: takes batches of the running job and rewraps them until none is left.

Any number of workers share a job through PostgreSQL. The lease of one that dies runs out. Then only the
wallets that it had re-encrypted and not stored are done again.

Under its own role, `kms_rotate` in `deploy/postgres/roles.sql`, a worker can change the wrapped DEK of a
wallet and what describes that DEK, and nothing else of the wallet.
"""

import asyncio
import os
import random
import socket
from collections import deque
from collections.abc import Sequence
from contextlib import suppress

from kms_service.access.scopes import Caller
from kms_service.errors import AuditUnavailable, IntegrityFailure, KmsError, KmsServiceError
from kms_service.kms.pool import KmsKeyPool
from kms_service.service.audit.log import AuditLog, Event
from kms_service.service.rewrap.chain_keys import AuditChainRewrapper
from kms_service.service.rewrap.row_mac_keys import RowMacKeyRewrapper
from kms_service.service.rewrap.wallets import Rewrapper, Rewrapping
from kms_service.store.rewrap.batches import Batch, DueWallet, FailedWallet, LeaseLost, Round
from kms_service.store.rewrap.jobs import RewrapJob, RewrapJobStore, RewrapStatus
from kms_service.store.rewrap.work import RewrapWork
from kms_service.telemetry import metrics
from kms_service.telemetry.logs import get_logger

IDLE_SECONDS = 2.0
WAIT_SECONDS = 0.5
MAX_WAIT_SECONDS = 15.0
# After this many rounds in a row without a served call, KMS is asked whether it answers at all.
FRUITLESS_ROUNDS = 5
# Wallets per concurrent call in one round: few enough that a pause acts within seconds, and the lease lasts.
WALLETS_A_CALL = 10
STOP_SECONDS = 5.0
ACTOR = "rotation-worker"
_CALLER = Caller.without_bounds(ACTOR)

log = get_logger()


class RewrapWorker:
    """One worker, in its own task from `start` to `stop`."""

    def __init__(
        self,
        store: RewrapJobStore,
        work: RewrapWork,
        rewrapper: Rewrapper,
        mac_keys: Sequence[AuditChainRewrapper | RowMacKeyRewrapper],
        pool: KmsKeyPool,
        audit: AuditLog,
    ) -> None:
        self._store = store
        self._work = work
        self._rewrapper = rewrapper
        self._mac_keys = mac_keys
        self._pool = pool
        self._audit = audit
        self._name = f"{socket.gethostname()[:150]}:{os.getpid()}"
        self._stopped = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look for work, on the running loop."""
        self._task = asyncio.create_task(self._run(), name="rotation worker")

    async def stop(self) -> None:
        """Release the batch after the round under way; after five seconds, cancel it."""
        self._stopped.set()
        if self._task is None:
            return
        await asyncio.wait({self._task}, timeout=STOP_SECONDS)
        self._task.cancel()
        await asyncio.wait({self._task})
        self._task = None

    async def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                seconds = await self._step()
            except KmsServiceError as error:
                log.warning("rotation_interrupted", code=error.code)
                seconds = IDLE_SECONDS
            except Exception:  # the task's boundary: it must live as long as the process
                log.exception("background_failed", work="rotation worker")
                seconds = MAX_WAIT_SECONDS
            await self._wait(seconds * random.uniform(0.9, 1.1))  # noqa: S311 # jitter only

    async def _wait(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopped.wait()

    async def _step(self) -> float:
        """Work through one batch, or take one step towards one; returns the seconds until the next."""
        job = await self._store.find_live()
        metrics.rotation_remaining.set(0 if job is None else max(0, job.total - job.processed))
        if job is None or job.status is RewrapStatus.PAUSED:
            return IDLE_SECONDS
        if job.status is RewrapStatus.PENDING:
            await self._work.begin(job.rotation_id)
            return 0
        batch = await self._work.take_over(job.rotation_id, self._name)
        if batch is None and job.cursor_source < len(job.sources):
            batch = await self._work.claim(job, self._name)
        elif batch is None:
            await self._rewrap_mac_keys(job)
            if await self._work.finish_sweep(job):
                await self._report_end(job)
            return WAIT_SECONDS
        if batch is not None:
            await self._work_off(job, batch)
        return 0

    async def _rewrap_mac_keys(self, job: RewrapJob) -> None:
        destinations = self._usable(job)
        if job.wrapped_before is not None or not destinations:
            return
        try:
            for kind in self._mac_keys:
                await kind.rewrap(job.sources, destinations)
        except (IntegrityFailure, KmsError) as error:
            # No wallet is affected. The keys left behind are shown by, and prevent, the KMS key's retirement.
            log.warning("mac_keys_left", rotation=str(job.rotation_id), reason=error.reason)
            await self._work.note(job, f"MAC keys: {error.code}: {error.reason}")

    async def _work_off(self, job: RewrapJob, batch: Batch) -> None:
        finished = False
        try:
            finished = await self._rewrap_all(job, batch)
        except LeaseLost:
            log.info("rotation_batch_left", rotation=str(job.rotation_id))
        finally:
            # Any worker may take a released batch at once, this one included.
            await (self._work.finish_batch if finished else self._work.release)(batch)

    async def _rewrap_all(self, job: RewrapJob, batch: Batch) -> bool:
        """Whether every wallet of the batch was dealt with.

        Raises:
            LeaseLost: another worker has the batch, or the job no longer runs.
        """
        left = deque(await self._work.due_wallets(job, batch))
        fruitless = 0
        while left and not self._stopped.is_set():
            grant = await self._work.take(
                job, batch, min(len(left), WALLETS_A_CALL * self._rewrapper.calls_at_once)
            )
            destinations = self._usable(job)
            if not destinations:
                await self._work.note(job, "no_usable_key")
                await self._wait(MAX_WAIT_SECONDS)
            elif not grant.calls:
                await self._wait(min(grant.wait_seconds, 1.0))
            else:
                outcome = await self._round(job, batch, left, grant.calls, destinations)
                fruitless = fruitless + 1 if outcome.fruitless else 0
                await self._react(job, batch, left, outcome, fruitless)
        return not left

    async def _round(
        self, job: RewrapJob, batch: Batch, left: deque[DueWallet], calls: int, destinations: list[str]
    ) -> Rewrapping:
        outcome = await self._rewrapper.rewrap([left.popleft() for _ in range(calls)], destinations)
        await self._commit(job, batch, outcome.round)
        left.extendleft(each.wallet for each in outcome.delayed)
        return outcome

    async def _commit(self, job: RewrapJob, batch: Batch, round_: Round) -> None:
        done = await self._work.commit(job, batch, round_)
        metrics.rotation_wallets.labels("moved").inc(done)
        metrics.rotation_wallets.labels("skipped").inc(len(round_.moved) - done)
        metrics.rotation_wallets.labels("failed").inc(len(round_.failed))

    async def _react(
        self, job: RewrapJob, batch: Batch, left: deque[DueWallet], outcome: Rewrapping, fruitless: int
    ) -> None:
        if outcome.throttled is not None:
            await self._work.slow_down(job, f"{outcome.throttled.code}: {outcome.throttled.reason}")
        elif outcome.refused is not None:
            await self._fail(
                job, f"{outcome.refused.code}: {outcome.refused.reason}, moving from {batch.source}"
            )
        elif outcome.delayed:
            error = outcome.delayed[0].error
            await self._work.note(job, f"{error.code}: {error.reason}")
            if fruitless >= FRUITLESS_ROUNDS and await self._rewrapper.answers(batch.source):
                # KMS answers, but not for these wallets: list them as failed, and go on with the job.
                failed = [FailedWallet(each.wallet, error.code, error.reason) for each in outcome.delayed]
                await self._commit(job, batch, Round(failed=failed))
                for _ in failed:
                    left.popleft()
            elif fruitless:
                await self._wait(min(MAX_WAIT_SECONDS, 0.5 * 2**fruitless))

    def _usable(self, job: RewrapJob) -> list[str]:
        usable = {key.key_arn for key in self._pool.keys if key.wraps}
        return [arn for arn in job.destinations if arn in usable]

    async def _fail(self, job: RewrapJob, error: str) -> None:
        if await self._work.fail(job, error[:200]):
            await self._report_end(job)

    async def _report_end(self, job: RewrapJob) -> None:
        ended = await self._store.find(job.rotation_id) or job
        counts = f"done={ended.done} failed={ended.failed} skipped={ended.skipped}"
        metrics.rotations_ended.labels(ended.status).inc()
        log.info("rotation_ended", rotation=str(job.rotation_id), status=ended.status, counts=counts)
        try:
            detail = f"{job.rotation_id}: {ended.status} {counts}"
            await self._audit.record(_CALLER, Event("rotation.end", detail=detail))
        except AuditUnavailable:
            log.error("rotation_end_unrecorded", rotation=str(job.rotation_id))
