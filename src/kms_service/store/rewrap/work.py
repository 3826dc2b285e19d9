"""The rotation tables, as workers see them: take a batch, pace the calls, write what was rewrapped.

No lock outlives a few statements, so none is held during a KMS call (invariant 2). A batch is a stretch of
one key's wallets in order of user id. Taking one moves the job's cursor past it and records a lease. When a
lease runs out, any worker may take the batch. Every write checks the lease, so each row is counted once.
"""

from uuid import UUID, uuid4

from sqlalchemy import case, delete, exists, func, or_, select, update

from kms_service.crypto.material import WrappedDek
from kms_service.store.postgres.database import Database
from kms_service.store.postgres.tables import rotation_batches, rotations, wallets
from kms_service.store.rewrap import batches, pace
from kms_service.store.rewrap.batches import Batch, DueWallet, Round
from kms_service.store.rewrap.jobs import WORKABLE, RewrapJob, RewrapStatus, due
from kms_service.store.rewrap.pace import Grant

MAX_SWEEPS = 20
SOURCE_IN_USE = "source_still_in_use"


class RewrapWork:
    """The statements of the workers.

    Every method raises DatabaseUnavailable when PostgreSQL does not answer.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self, rotation_id: UUID) -> None:
        """Mark a pending job as running."""
        await self._update(
            rotation_id,
            RewrapStatus.PENDING,
            status=RewrapStatus.RUNNING,
            started_at=func.clock_timestamp(),
            sampled_at=func.clock_timestamp(),
            refilled_at=func.clock_timestamp(),
        )

    async def take_over(self, rotation_id: UUID, worker: str) -> Batch | None:
        """A batch whose lease ran out or was released, now leased to this worker; None if there is none."""
        expired = (
            select(rotation_batches.c.batch_id)
            .where(
                rotation_batches.c.rotation_id == rotation_id,
                rotation_batches.c.leased_until < func.clock_timestamp(),
            )
            .order_by(rotation_batches.c.leased_until)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        statement = (
            update(rotation_batches)
            .where(rotation_batches.c.batch_id == expired.scalar_subquery())
            .values(lease_id=uuid4(), worker=worker, leased_until=batches.lease_end())
            .returning(
                rotation_batches.c.batch_id,
                rotation_batches.c.lease_id,
                rotation_batches.c.source,
                rotation_batches.c.after_user_id,
                rotation_batches.c.last_user_id,
            )
        )
        async with self._database.connection() as connection:
            row = (await connection.execute(statement)).one_or_none()
        return None if row is None else Batch(**row._asdict())

    async def claim(self, job: RewrapJob, worker: str) -> Batch | None:
        """The next stretch after the job's cursor, leased to this worker.

        Returns:
            None if the stretch held nothing to move, or another worker was faster: read the job again.
        """
        # 1. Read the stretch before the job's row is locked, so that the lock is held for two short writes.
        async with self._database.transaction(batches.STRETCH_SECONDS + 1) as connection:
            last, found = await batches.stretch(connection, job)
        # 2. Move the cursor only if nobody else has, and record the lease in the same transaction: no two
        #    workers get the same stretch, and none is skipped.
        async with self._database.transaction() as connection:
            if not await batches.advance(connection, job, last, found) or last is None or not found:
                return None
            batch = Batch(uuid4(), uuid4(), job.sources[job.cursor_source], job.cursor_user_id, last)
            await batches.lease(connection, job, batch, worker)
        return batch

    async def due_wallets(self, job: RewrapJob, batch: Batch) -> list[DueWallet]:
        """The batch's wallets that are still due, in order of user id."""
        statement = (
            select(
                wallets.c.user_id,
                wallets.c.wallet_address,
                wallets.c.kms_key_id,
                wallets.c.kms_region,
                wallets.c.encrypted_dek,
            )
            .where(
                *due([batch.source], job.wrapped_before),
                wallets.c.user_id > batch.after_user_id,
                wallets.c.user_id <= batch.last_user_id,
                ~batches.has_failed(job.rotation_id),
            )
            .order_by(wallets.c.user_id)
        )
        async with self._database.connection() as connection:
            rows = (await connection.execute(statement)).all()
        return [
            DueWallet(
                row.user_id,
                row.wallet_address,
                WrappedDek(row.kms_key_id, row.kms_region, row.encrypted_dek),
            )
            for row in rows
        ]

    async def take(self, job: RewrapJob, batch: Batch, wanted: int) -> Grant:
        """Renew the lease, and take up to `wanted` calls from the token bucket of all workers.

        Raises:
            LeaseLost: another worker has the batch, or the job no longer runs.
        """
        async with self._database.transaction() as connection:
            await batches.renew(connection, batch, statuses=[RewrapStatus.RUNNING])
            return await pace.take(connection, job.rotation_id, wanted)

    async def slow_down(self, job: RewrapJob, error: str) -> None:
        """Halve the pace of all workers; it grows back within a minute."""
        await pace.slow_down(self._database, job.rotation_id, error)

    async def note(self, job: RewrapJob, error: str) -> None:
        """Store an error that fails no wallet, to be shown with the job, such as KMS being unavailable."""
        await self._update(job.rotation_id, *WORKABLE, last_error=error)

    async def commit(self, job: RewrapJob, batch: Batch, round_: Round) -> int:
        """Write the outcome of a round in one transaction with the job's counts; returns how many moved.

        A paused or ended job is written too: what KMS has done must be stored.

        Raises:
            LeaseLost: another worker has the batch; nothing was written.
        """
        async with self._database.transaction() as connection:
            # 1. The lease, locked until the commit: no other worker writes or counts these wallets.
            await batches.renew(connection, batch, statuses=list(RewrapStatus))
            # 2. The new DEKs, each only if its row has not changed; then what failed.
            done = await batches.move(connection, batch.source, round_.moved)
            failed = await batches.list_failures(connection, job.rotation_id, round_.failed)
            # 3. The counts, in the same transaction, so that they always match the rows.
            await batches.count(connection, job.rotation_id, round_, done, failed)
        return done

    async def finish_batch(self, batch: Batch) -> None:
        """Delete a batch whose wallets were all dealt with."""
        statement = delete(rotation_batches).where(rotation_batches.c.lease_id == batch.lease_id)
        async with self._database.connection() as connection:
            await connection.execute(statement)

    async def release(self, batch: Batch) -> None:
        """Give up an unfinished batch, so that any worker may take it at once."""
        statement = (
            update(rotation_batches)
            .where(rotation_batches.c.lease_id == batch.lease_id)
            .values(leased_until=func.clock_timestamp())
        )
        async with self._database.connection() as connection:
            await connection.execute(statement)

    async def finish_sweep(self, job: RewrapJob) -> bool:
        """Once no batch is left, end the job if its sweep found nothing to move, else begin the next sweep.

        The next sweep finds wallets that were put under a source meanwhile, and those of batches given up.

        Returns:
            Whether this call ended the job.
        """
        leftover = exists().where(rotation_batches.c.rotation_id == job.rotation_id)
        unfinished = rotations.c.sweep_found > 0
        over = ~unfinished | (rotations.c.sweep >= MAX_SWEEPS)
        with_errors = or_(rotations.c.failed > 0, unfinished)
        ended = case(
            (with_errors, RewrapStatus.COMPLETED_WITH_ERRORS.value), else_=RewrapStatus.COMPLETED.value
        )
        statement = (
            update(rotations)
            .where(
                rotations.c.rotation_id == job.rotation_id,
                rotations.c.status == RewrapStatus.RUNNING,
                rotations.c.sweep == job.sweep,
                rotations.c.cursor_source >= func.cardinality(rotations.c.sources),
                ~leftover,
            )
            .values(
                status=case((over, ended), else_=rotations.c.status),
                finished_at=case((over, func.clock_timestamp())),
                last_error=case((over & unfinished, SOURCE_IN_USE), else_=rotations.c.last_error),
                sweep=rotations.c.sweep + 1,
                sweep_found=0,
                cursor_source=case((over, rotations.c.cursor_source), else_=0),
                cursor_user_id="",
            )
            .returning(rotations.c.finished_at)
        )
        async with self._database.connection() as connection:
            row = (await connection.execute(statement)).one_or_none()
        return row is not None and row.finished_at is not None

    async def fail(self, job: RewrapJob, error: str) -> bool:
        """End a job that cannot go on; returns whether this call did."""
        return await self._update(
            job.rotation_id,
            RewrapStatus.RUNNING,
            status=RewrapStatus.FAILED,
            finished_at=func.clock_timestamp(),
            last_error=error,
        )

    async def _update(self, rotation_id: UUID, *only_from: RewrapStatus, **values: object) -> bool:
        statement = (
            update(rotations)
            .where(rotations.c.rotation_id == rotation_id, rotations.c.status.in_(only_from))
            .values(values)
        )
        async with self._database.connection() as connection:
            return (await connection.execute(statement)).rowcount == 1
