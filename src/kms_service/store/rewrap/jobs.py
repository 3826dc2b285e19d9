"""The `rotations` and `rotation_failures` tables, as operators see them: jobs, their states and failures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, case, func, select, text, update
from sqlalchemy.dialects.postgresql import insert

from kms_service.store.postgres.database import Database
from kms_service.store.postgres.tables import rotation_failures, rotations, wallets


class RewrapStatus(StrEnum):
    """Where a job stands."""

    PENDING = "pending"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    COMPLETED_WITH_ERRORS = "completed_with_errors"
    CANCELLED = "cancelled"
    FAILED = "failed"


LIVE = (RewrapStatus.PENDING, RewrapStatus.RUNNING, RewrapStatus.PAUSED)
WORKABLE = (RewrapStatus.PENDING, RewrapStatus.RUNNING)
COUNT_SECONDS = 120
_SAMPLE_AGE = "interval '10 seconds'"


@dataclass(frozen=True, slots=True)
class NewRewrapJob:
    """A job to be stored, with every alias already resolved to an ARN.

    Attributes:
        sources: keys whose wallets are moved; each sweep goes through them in this order.
        wrapped_before: only wallets whose DEK was wrapped before this time; None for all.
        destinations: keys that the wallets are moved to, spread at random.
        rate_per_second: KMS calls per second, over all workers.
        total: how many wallets are due, as counted now.
    """

    rotation_id: UUID
    dry_run: bool
    sources: tuple[str, ...]
    wrapped_before: datetime | None
    destinations: tuple[str, ...]
    rate_per_second: float
    created_by: str
    total: int


@dataclass(frozen=True, slots=True)
class RewrapJob:
    """A job; times are UTC.

    Attributes:
        done: wallets moved by this job.
        failed: wallets that could not be moved; each is listed.
        skipped: wallets that somebody else changed while they were being moved.
        kms_calls: ReEncrypt calls made, including failed ones.
        rate: wallets per second lately; 0 unless the job is running.
    """

    rotation_id: UUID
    status: RewrapStatus
    dry_run: bool
    sources: Sequence[str]
    wrapped_before: datetime | None
    destinations: Sequence[str]
    rate_per_second: float
    created_by: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    total: int
    done: int
    failed: int
    skipped: int
    kms_calls: int
    last_error: str | None
    sweep: int
    cursor_source: int
    cursor_user_id: str
    rate: float

    @property
    def processed(self) -> int:
        """Wallets dealt with, one way or another."""
        return self.done + self.failed + self.skipped

    @property
    def eta_seconds(self) -> int | None:
        """Seconds until all wallets are dealt with at the present rate; None while nothing moves."""
        left = max(0, self.total - self.processed)
        return round(left / self.rate) if self.rate > 0 else None

    @property
    def live(self) -> bool:
        """Whether it has not ended."""
        return self.status in LIVE


@dataclass(frozen=True, slots=True)
class RewrapFailure:
    """A wallet that could not be moved: an error code, and why, in words of KMS or of this code."""

    user_id: str
    code: str
    reason: str
    kms_key_id: str
    at: datetime


_PROCESSED = rotations.c.done + rotations.c.failed + rotations.c.skipped
_SAMPLE_SECONDS = func.greatest(func.extract("epoch", func.clock_timestamp() - rotations.c.sampled_at), 0.001)
_RATE: ColumnElement[float] = case(
    (rotations.c.status != RewrapStatus.RUNNING, 0.0),
    (
        rotations.c.sampled_rate.is_not(None)
        & (rotations.c.sampled_at > func.clock_timestamp() - text(_SAMPLE_AGE)),
        rotations.c.sampled_rate,
    ),
    else_=func.coalesce((_PROCESSED - rotations.c.sampled_processed) / _SAMPLE_SECONDS, 0.0),
).label("rate")
_COLUMNS = (
    *(rotations.c[field.name] for field in fields(RewrapJob) if field.name != "rate"),
    _RATE,
)
_FAILURE = (
    rotation_failures.c.user_id,
    rotation_failures.c.code,
    rotation_failures.c.reason,
    rotation_failures.c.kms_key_id,
    rotation_failures.c.at,
)
# Jumps from key to key in the index, however many wallets there are.
_KEYS_IN_USE = text(
    """
    WITH RECURSIVE keys(arn) AS (
        (SELECT kms_key_id FROM wallets ORDER BY kms_key_id LIMIT 1)
        UNION ALL
        SELECT (SELECT kms_key_id FROM wallets WHERE kms_key_id > arn ORDER BY kms_key_id LIMIT 1)
        FROM keys WHERE arn IS NOT NULL
    )
    SELECT arn FROM keys WHERE arn IS NOT NULL
    """
)


class RewrapJobStore:
    """The statements for starting, watching and steering jobs.

    Every method raises DatabaseUnavailable when PostgreSQL does not answer.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def keys_in_use(self) -> list[str]:
        """The ARNs that wrap at least one wallet's DEK."""
        async with self._database.connection() as connection:
            return [row.arn for row in await connection.execute(_KEYS_IN_USE)]

    async def count_due(self, sources: Sequence[str], wrapped_before: datetime | None) -> int:
        """How many wallets a job would move now. Reads the sources' part of the index once."""
        statement = select(func.count()).select_from(wallets).where(*due(sources, wrapped_before))
        async with self._database.transaction(COUNT_SECONDS + 1) as connection:
            await connection.execute(text(f"SET LOCAL statement_timeout = '{COUNT_SECONDS}s'"))
            return int((await connection.execute(statement)).scalar_one())

    async def insert(self, new: NewRewrapJob) -> RewrapJob | None:
        """Store a job as `pending`, or a dry run as `completed`; None if another job is live."""
        values = {field.name: getattr(new, field.name) for field in fields(new)}
        values |= {"sources": list(new.sources), "destinations": list(new.destinations)}
        values["status"] = RewrapStatus.PENDING
        if new.dry_run:
            values |= {
                "status": RewrapStatus.COMPLETED,
                "started_at": func.now(),
                "finished_at": func.now(),
            }
        statement = insert(rotations).values(values).on_conflict_do_nothing().returning(*_COLUMNS)
        return await self._fetch_one(statement)

    async def find(self, rotation_id: UUID) -> RewrapJob | None:
        """The job, or None."""
        return await self._fetch_one(select(*_COLUMNS).where(rotations.c.rotation_id == rotation_id))

    async def find_live(self) -> RewrapJob | None:
        """The job that is pending, running or paused; there is at most one."""
        return await self._fetch_one(select(*_COLUMNS).where(rotations.c.status.in_(LIVE)))

    async def newest(self, limit: int) -> list[RewrapJob]:
        """The last `limit` jobs, newest first."""
        statement = select(*_COLUMNS).order_by(rotations.c.created_at.desc()).limit(limit)
        async with self._database.connection() as connection:
            return [_rotation(row) for row in await connection.execute(statement)]

    async def failures(self, rotation_id: UUID, *, limit: int, after: str) -> list[RewrapFailure]:
        """Up to `limit` failures of a job after user `after`, in order of user id."""
        statement = (
            select(*_FAILURE)
            .where(rotation_failures.c.rotation_id == rotation_id, rotation_failures.c.user_id > after)
            .order_by(rotation_failures.c.user_id)
            .limit(limit)
        )
        async with self._database.connection() as connection:
            return [RewrapFailure(**row._asdict()) for row in await connection.execute(statement)]

    async def transition(
        self, rotation_id: UUID, to: RewrapStatus, *, only_from: Sequence[RewrapStatus]
    ) -> RewrapJob | None:
        """Change a job's status by compare-and-set; None if its status was none of `only_from`."""
        values: dict[str, Any] = {"status": to}
        if to not in LIVE:
            values["finished_at"] = func.clock_timestamp()
        elif to is RewrapStatus.RUNNING:
            # A job that no worker has begun waits for one again.
            values["status"] = case((rotations.c.started_at.is_(None), RewrapStatus.PENDING), else_=to)
            values |= _restart_sample()
        statement = (
            update(rotations)
            .where(rotations.c.rotation_id == rotation_id, rotations.c.status.in_(only_from))
            .values(values)
            .returning(*_COLUMNS)
        )
        return await self._fetch_one(statement)

    async def _fetch_one(self, statement: Any) -> RewrapJob | None:
        async with self._database.connection() as connection:
            row = (await connection.execute(statement)).one_or_none()
        return None if row is None else _rotation(row)


def due(sources: Sequence[str], wrapped_before: datetime | None) -> list[ColumnElement[bool]]:
    """The conditions under which a job moves a wallet; the first is about its key."""
    conditions: list[ColumnElement[bool]] = [wallets.c.kms_key_id.in_(sources)]
    if wrapped_before is not None:
        conditions.append(func.coalesce(wallets.c.dek_wrapped_at, wallets.c.created_at) < wrapped_before)
    return conditions


def _restart_sample() -> Mapping[str, Any]:
    return {"sampled_at": func.clock_timestamp(), "sampled_processed": _PROCESSED, "sampled_rate": None}


def _rotation(row: Row[*tuple[Any, ...]]) -> RewrapJob:
    values = dict(row._mapping)  # noqa: SLF001 # SQLAlchemy's documented name for a row as a mapping
    return RewrapJob(**{**values, "status": RewrapStatus(values["status"]), "rate": float(values["rate"])})
