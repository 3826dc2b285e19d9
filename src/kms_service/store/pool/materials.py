"""The `key_materials` table: wallets by version of each key's material; one replica counts for all."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from kms_service.store.postgres.database import Database
from kms_service.store.postgres.tables import key_materials

COUNT_SECONDS = 300
_ONE_AT_A_TIME = 0x6B6D735F6D617473  # "kms_mats": the key of an advisory lock

# A rewrapped row says which material wraps it. For others KMS does not say, so the time decides.
_BY_TIME = text(
    """
    SELECT kms_key_material_id AS material_id,
        width_bucket(coalesce(dek_wrapped_at, created_at), CAST(:dates AS timestamptz[])) AS version,
        count(*) AS wallets
    FROM wallets WHERE kms_key_id = ANY(:arns) GROUP BY 1, 2
    """
)
# For a key that was never rotated, the index is enough.
_ALL = text(
    "SELECT NULL AS material_id, 0 AS version, count(*) AS wallets FROM wallets WHERE kms_key_id = ANY(:arns)"
)


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a key's material: its id, if KMS gives it, and since when it was current (UTC)."""

    material_id: str | None
    current_since: datetime | None


@dataclass(frozen=True, slots=True)
class MaterialCount:
    """Wallets under one version of a key's material, as last counted."""

    kms_key_id: str
    version: int
    key_material_id: str | None
    current_since: datetime | None
    wallets: int


class KeyMaterialStore:
    """Statements on `key_materials`.

    Every method raises DatabaseUnavailable when PostgreSQL does not answer.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self) -> dict[str, list[MaterialCount]]:
        """The counts for each key ARN, oldest version first."""
        columns = [
            key_materials.c[name]
            for name in ("kms_key_id", "version", "key_material_id", "current_since", "wallets")
        ]
        counts: dict[str, list[MaterialCount]] = {}
        async with self._database.connection() as connection:
            for row in await connection.execute(select(*columns).order_by(*columns[:2])):
                counts.setdefault(row.kms_key_id, []).append(MaterialCount(**row._asdict()))
        return counts

    async def count(
        self,
        keys: Mapping[str, Sequence[Version]],
        names: Mapping[str, Sequence[str]],
        *,
        share_of_time: int,
    ) -> bool:
        """Count the wallets under each version of these keys, unless that was done lately or is being done.

        It reads the rows of rotated keys once, and only the index for others. Returns whether it counted.

        Args:
            keys: the versions of each key ARN, oldest first, at least one.
            names: the ARNs by which rows name each of these keys.
            share_of_time: how many times its own duration ago the last count must be.
        """
        async with self._database.transaction(COUNT_SECONDS * (len(keys) + 1)) as connection:
            if not (
                await connection.execute(select(func.pg_try_advisory_xact_lock(_ONE_AT_A_TIME)))
            ).scalar_one():
                return False
            await connection.execute(text(f"SET LOCAL statement_timeout = '{COUNT_SECONDS}s'"))
            if not await _is_due(connection, share_of_time):
                return False
            started = time.monotonic()
            counts = {arn: await _count(connection, names[arn], versions) for arn, versions in keys.items()}
            await _write(connection, keys, counts, time.monotonic() - started)
        return True


async def _is_due(connection: AsyncConnection, share_of_time: int) -> bool:
    age = func.extract("epoch", func.clock_timestamp() - func.min(key_materials.c.counted_at))
    took = func.max(key_materials.c.counted_in_seconds)
    due: bool | None = (await connection.execute(select(age > share_of_time * took))).scalar_one()
    return due is not False


async def _count(connection: AsyncConnection, arns: Sequence[str], versions: Sequence[Version]) -> list[int]:
    counts = [0] * len(versions)
    by_id = {version.material_id: n for n, version in enumerate(versions) if version.material_id is not None}
    dates = [version.current_since for version in versions[1:]]
    rows = (
        await connection.execute(_BY_TIME, {"arns": list(arns), "dates": dates})
        if dates
        else await connection.execute(_ALL, {"arns": list(arns)})
    )
    for row in rows:
        counts[by_id.get(row.material_id, row.version)] += row.wallets
    return counts


async def _write(
    connection: AsyncConnection,
    keys: Mapping[str, Sequence[Version]],
    counts: Mapping[str, Sequence[int]],
    seconds: float,
) -> None:
    await connection.execute(delete(key_materials).where(key_materials.c.kms_key_id.in_(list(keys))))
    rows: list[dict[str, Any]] = [
        {
            "kms_key_id": arn,
            "version": n,
            "key_material_id": version.material_id,
            "current_since": version.current_since,
            "wallets": counts[arn][n],
            "counted_at": func.clock_timestamp(),
            "counted_in_seconds": seconds,
        }
        for arn, versions in keys.items()
        for n, version in enumerate(versions)
    ]
    await connection.execute(insert(key_materials).values(rows))
