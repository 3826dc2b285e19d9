"""The statements of a worker's transactions: stretches of wallets under a lease, and rewrapped rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, and_, case, exists, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from kms_service.crypto.material import WrappedDek
from kms_service.store.postgres.tables import rotation_batches, rotation_failures, rotations, wallets
from kms_service.store.rewrap.jobs import RewrapJob, RewrapStatus, due

BATCH_WALLETS = 1000
LEASE_SECONDS = 60
STRETCH_SECONDS = 60
_SAMPLE_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Batch:
    """A stretch of one key's wallets, after `after_user_id` up to `last_user_id`, leased to one worker."""

    batch_id: UUID
    lease_id: UUID
    source: str
    after_user_id: str
    last_user_id: str


@dataclass(frozen=True, slots=True)
class DueWallet:
    """What rewrapping needs of a row; the encrypted seed is not even read (invariant 7)."""

    user_id: str
    wallet_address: str
    dek: WrappedDek


@dataclass(frozen=True, slots=True)
class MovedWallet:
    """A wallet, and its DEK as KMS rewrapped it."""

    wallet: DueWallet
    dek: WrappedDek
    key_material_id: str | None


@dataclass(frozen=True, slots=True)
class FailedWallet:
    """A wallet that cannot be moved: an error code, and why, in words of KMS or of this code."""

    wallet: DueWallet
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Round:
    """The outcome of one round of KMS calls."""

    moved: Sequence[MovedWallet] = ()
    failed: Sequence[FailedWallet] = ()
    kms_calls: int = 0


class LeaseLost(Exception):  # not an error of the service: the worker goes on with another batch
    """Another worker has the batch by now, or the job no longer runs; nothing was written."""


# A compare-and-set of each row, while the batch's lease is held (`renew`, in the same transaction):
# 1. `user_id` finds the row; the seed is neither read nor written (invariant 7).
# 2. `kms_key_id` and `encrypted_dek` must still be what was sent to KMS. A row that somebody moved, restored
#    or replaced meanwhile stays as it is; the next sweep finds it if it is still due.
# 3. DEK and key change in one statement, so that no row ever names a key that cannot open it.
_MOVE = text(
    """
    UPDATE wallets SET encrypted_dek = moved.new_dek, kms_key_id = moved.key, kms_region = moved.region,
        kms_key_material_id = moved.material, dek_wrapped_at = clock_timestamp()
    FROM unnest(:users ::text[], :old_deks ::bytea[], :new_deks ::bytea[], :keys ::text[],
        :regions ::text[], :materials ::text[]) AS moved(user_id, old_dek, new_dek, key, region, material)
    WHERE wallets.user_id = moved.user_id AND wallets.kms_key_id = :source
        AND wallets.encrypted_dek = moved.old_dek
    """
)


def lease_end() -> ColumnElement[datetime]:
    """When a lease that is taken or renewed now expires."""
    return func.clock_timestamp() + text(f"interval '{LEASE_SECONDS} seconds'")


def has_failed(rotation_id: UUID) -> ColumnElement[bool]:
    """Whether a wallet is on the job's list of failures."""
    return exists().where(
        rotation_failures.c.rotation_id == rotation_id, rotation_failures.c.user_id == wallets.c.user_id
    )


async def stretch(connection: AsyncConnection, job: RewrapJob) -> tuple[str | None, int]:
    """The next stretch after the job's cursor: its last user (None at the end), and how many wallets are due.

    Its length is fixed, and so is its cost, however few of the key's wallets are due.
    """
    is_due = (*due([], job.wrapped_before)[1:], ~has_failed(job.rotation_id))
    window = (
        select(wallets.c.user_id, and_(*is_due).label("is_due"))
        .where(wallets.c.kms_key_id == job.sources[job.cursor_source], wallets.c.user_id > job.cursor_user_id)
        .order_by(wallets.c.user_id)
        .limit(BATCH_WALLETS)
        .subquery()
    )
    found = func.count().filter(window.c.is_due).label("due")
    # A longer time-out: until PostgreSQL vacuums, a second sweep passes over all rows the first has moved.
    await connection.execute(text(f"SET LOCAL statement_timeout = '{STRETCH_SECONDS}s'"))
    row = (await connection.execute(select(func.max(window.c.user_id).label("last"), found))).one()
    return row.last, row.due


async def advance(connection: AsyncConnection, job: RewrapJob, last: str | None, found: int) -> bool:
    """Move the cursor past `last`, or to the next key if None; False if another worker was faster."""
    values = {
        "cursor_source": job.cursor_source + (last is None),
        "cursor_user_id": last or "",
        "sweep_found": rotations.c.sweep_found + found,
        # What later sweeps find was not counted when the job was made.
        "total": rotations.c.total + (found if job.sweep > 1 else 0),
    }
    statement = (
        update(rotations)
        .where(
            rotations.c.rotation_id == job.rotation_id,
            rotations.c.status == RewrapStatus.RUNNING,
            rotations.c.sweep == job.sweep,
            rotations.c.cursor_source == job.cursor_source,
            rotations.c.cursor_user_id == job.cursor_user_id,
        )
        .values(values)
    )
    return (await connection.execute(statement)).rowcount == 1


async def lease(connection: AsyncConnection, job: RewrapJob, batch: Batch, worker: str) -> None:
    """Record a new batch, leased to this worker."""
    values = {
        "rotation_id": job.rotation_id,
        "batch_id": batch.batch_id,
        "lease_id": batch.lease_id,
        "source": batch.source,
        "after_user_id": batch.after_user_id,
        "last_user_id": batch.last_user_id,
        "worker": worker,
        "leased_until": lease_end(),
    }
    await connection.execute(insert(rotation_batches).values(values))


async def renew(connection: AsyncConnection, batch: Batch, *, statuses: Sequence[RewrapStatus]) -> None:
    """Renew the batch's lease; its row stays locked until this transaction ends.

    Raises:
        LeaseLost: another worker has the batch, or the job's status is none of `statuses`.
    """
    job = exists().where(
        rotations.c.rotation_id == rotation_batches.c.rotation_id, rotations.c.status.in_(statuses)
    )
    statement = (
        update(rotation_batches)
        .where(
            rotation_batches.c.batch_id == batch.batch_id, rotation_batches.c.lease_id == batch.lease_id, job
        )
        .values(leased_until=lease_end())
    )
    if (await connection.execute(statement)).rowcount != 1:
        raise LeaseLost


async def move(connection: AsyncConnection, source: str, moved: Sequence[MovedWallet]) -> int:
    """Store the new DEKs of the wallets whose rows have not changed since; returns how many those are."""
    if not moved:
        return 0
    values = {
        "users": [each.wallet.user_id for each in moved],
        "old_deks": [each.wallet.dek.blob for each in moved],
        "new_deks": [each.dek.blob for each in moved],
        "keys": [each.dek.key_arn for each in moved],
        "regions": [each.dek.region for each in moved],
        "materials": [each.key_material_id for each in moved],
        "source": source,
    }
    return (await connection.execute(_MOVE, values)).rowcount


async def list_failures(
    connection: AsyncConnection, rotation_id: UUID, failed: Sequence[FailedWallet]
) -> int:
    """Add wallets to the job's list of failures; returns how many were not on it yet."""
    if not failed:
        return 0
    rows = [
        {
            "rotation_id": rotation_id,
            "user_id": each.wallet.user_id,
            "code": each.code,
            "reason": each.reason[:200],
            "kms_key_id": each.wallet.dek.key_arn,
        }
        for each in failed
    ]
    statement = insert(rotation_failures).values(rows).on_conflict_do_nothing()
    return len((await connection.execute(statement.returning(rotation_failures.c.user_id))).all())


async def count(
    connection: AsyncConnection, rotation_id: UUID, round_: Round, done: int, failed: int
) -> None:
    """Add a round to the job's counts; renew the sample from which its rate is computed, if that is old."""
    processed = rotations.c.done + rotations.c.failed + rotations.c.skipped
    skipped = len(round_.moved) - done
    now = processed + done + skipped + failed
    seconds = func.extract("epoch", func.clock_timestamp() - rotations.c.sampled_at)
    old = seconds >= _SAMPLE_SECONDS
    values = {
        "done": rotations.c.done + done,
        "failed": rotations.c.failed + failed,
        "skipped": rotations.c.skipped + skipped,
        "kms_calls": rotations.c.kms_calls + round_.kms_calls,
        "sampled_rate": case(
            (old, (now - rotations.c.sampled_processed) / seconds), else_=rotations.c.sampled_rate
        ),
        "sampled_processed": case((old, now), else_=rotations.c.sampled_processed),
        "sampled_at": case((old, func.clock_timestamp()), else_=rotations.c.sampled_at),
    }
    await connection.execute(update(rotations).where(rotations.c.rotation_id == rotation_id).values(values))
