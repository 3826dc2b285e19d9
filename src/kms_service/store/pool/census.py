"""The `key_census` table: what all replicas together know about each key, written at a low rate."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from kms_service.store.postgres.database import Database
from kms_service.store.postgres.tables import key_census, wallets

COUNT_SECONDS = 120
_ONE_AT_A_TIME = 0x6B6D735F636E7473  # "kms_cnts": the key of an advisory lock


@dataclass(frozen=True, slots=True)
class KeyCensus:
    """What is known about one key ARN.

    Attributes:
        wallets: how many were under this key when last counted; None before the first count.
        counted_at: by the database's clock, UTC.
        counted_in_seconds: how long that count of all keys took.
        last_used_at: UTC, by the clock of the replica that used it.
    """

    kms_key_id: str
    last_used_at: datetime | None
    wallets: int | None
    counted_at: datetime | None
    counted_in_seconds: float | None


class KeyCensusStore:
    """Statements on `key_census`. Every method raises DatabaseUnavailable when PostgreSQL does not answer."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self) -> tuple[dict[str, KeyCensus], datetime]:
        """Every known key by ARN, and the database's time."""
        statement = select(key_census, func.clock_timestamp().label("now"))
        async with self._database.connection() as connection:
            rows = (await connection.execute(statement)).all()
        now = rows[0].now if rows else await self._database.now()
        return {row.kms_key_id: _census(row) for row in rows}, now

    async def record_use(self, last_used: Mapping[str, datetime]) -> None:
        """Store when keys were last used; an older time never replaces a newer one."""
        statement = insert(key_census).values(
            [{"kms_key_id": arn, "last_used_at": at} for arn, at in sorted(last_used.items())]
        )
        newer = func.greatest(key_census.c.last_used_at, statement.excluded.last_used_at)
        async with self._database.connection() as connection:
            await connection.execute(
                statement.on_conflict_do_update(
                    index_elements=[key_census.c.kms_key_id], set_={"last_used_at": newer}
                )
            )

    async def count(self) -> bool:
        """Count the wallets under each key; False if another replica is doing so.

        It reads the index on `kms_key_id` from end to end, so the caller decides how often.
        """
        async with self._database.transaction(COUNT_SECONDS + 1) as connection:
            if not (
                await connection.execute(select(func.pg_try_advisory_xact_lock(_ONE_AT_A_TIME)))
            ).scalar_one():
                return False
            await connection.execute(text(f"SET LOCAL statement_timeout = '{COUNT_SECONDS}s'"))
            started = time.monotonic()
            counts = await _counts(connection)
            await _write(connection, counts, time.monotonic() - started)
        return True


async def _counts(connection: AsyncConnection) -> dict[str, int]:
    known = dict.fromkeys((await connection.execute(select(key_census.c.kms_key_id))).scalars(), 0)
    statement = select(wallets.c.kms_key_id, func.count().label("wallets")).group_by(wallets.c.kms_key_id)
    return known | {row.kms_key_id: row.wallets for row in await connection.execute(statement)}


async def _write(connection: AsyncConnection, counts: Mapping[str, int], seconds: float) -> None:
    if not counts:
        return
    rows: list[dict[str, Any]] = [
        {
            "kms_key_id": arn,
            "wallets": number,
            "counted_at": func.clock_timestamp(),
            "counted_in_seconds": seconds,
        }
        for arn, number in sorted(counts.items())
    ]
    statement = insert(key_census).values(rows)
    await connection.execute(
        statement.on_conflict_do_update(
            index_elements=[key_census.c.kms_key_id],
            set_={
                "wallets": statement.excluded.wallets,
                "counted_at": statement.excluded.counted_at,
                "counted_in_seconds": statement.excluded.counted_in_seconds,
            },
        )
    )


def _census(row: Row[Any]) -> KeyCensus:
    return KeyCensus(
        kms_key_id=row.kms_key_id,
        last_used_at=row.last_used_at,
        wallets=row.wallets,
        counted_at=row.counted_at,
        counted_in_seconds=row.counted_in_seconds,
    )
