"""The token bucket of a job: one row for all workers, touched once per round and not once per wallet."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from kms_service.store.postgres.database import Database

RECOVERY_SECONDS = 60

# The full pace, or what throttling has cut it to; that grows back to the full pace within a minute.
_PACE = f"""least(rate_per_second, coalesce(slowed_rate + rate_per_second
    * extract(epoch FROM clock_timestamp() - slowed_at)::float8 / {RECOVERY_SECONDS}, rate_per_second))"""

# Refilled by the time that has passed, up to one second's worth.
_TAKE = text(
    f"""
    WITH pace AS (
        SELECT rotation_id, tokens, {_PACE} AS rate, clock_timestamp() AS now,
            greatest(0, extract(epoch FROM clock_timestamp() - refilled_at)::float8) AS passed
        FROM rotations WHERE rotation_id = :rotation_id FOR UPDATE
    ), bucket AS (
        SELECT rotation_id, now, rate, least(greatest(rate, 1), tokens + rate * passed) AS available FROM pace
    )
    UPDATE rotations SET refilled_at = bucket.now,
        tokens = bucket.available - least(floor(bucket.available), :wanted)
    FROM bucket WHERE rotations.rotation_id = bucket.rotation_id
    RETURNING least(floor(bucket.available), :wanted)::int AS calls,
        greatest(0, (1 - bucket.available) / bucket.rate)::float8 AS wait_seconds
    """  # noqa: S608 # made of constants
)

# Applied at most once per second, however many workers are throttled at the same time.
_SLOW_DOWN = text(
    f"""
    UPDATE rotations SET tokens = 0, slowed_rate = greatest(1, {_PACE} / 2), slowed_at = clock_timestamp(),
        last_error = :error
    WHERE rotation_id = :rotation_id
        AND (slowed_at IS NULL OR slowed_at < clock_timestamp() - interval '1 second')
    """  # noqa: S608 # made of constants
)


@dataclass(frozen=True, slots=True)
class Grant:
    """How many KMS calls a worker may make now; if none, how many seconds it must wait."""

    calls: int
    wait_seconds: float


async def take(connection: AsyncConnection, rotation_id: UUID, wanted: int) -> Grant:
    """Take up to `wanted` tokens, within the caller's transaction."""
    row = (await connection.execute(_TAKE, {"rotation_id": rotation_id, "wanted": wanted})).one()
    return Grant(row.calls, row.wait_seconds)


async def slow_down(database: Database, rotation_id: UUID, error: str) -> None:
    """Halve the pace of all workers, to a minimum of one call per second.

    Raises:
        DatabaseUnavailable: PostgreSQL does not answer.
    """
    async with database.connection() as connection:
        await connection.execute(_SLOW_DOWN, {"rotation_id": rotation_id, "error": error})
