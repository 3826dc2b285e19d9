"""The `row_mac_keys` table: keys of row MACs, each wrapped by several KMS keys. Only ever inserted."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Row, String, exists, func, select, text
from sqlalchemy.dialects.postgresql import array, insert

from kms_service.crypto.material import WrappedDek
from kms_service.store.postgres.database import Database
from kms_service.store.postgres.tables import rotations, row_mac_keys
from kms_service.store.rewrap.jobs import RewrapStatus

# A new key makes MACs only when it is this old: by then every process has it, and can check them.
SETTLING_SECONDS = 60
# Somebody who may insert must not fill the memory, nor have KMS asked without end.
MOST_ROWS = 500


@dataclass(frozen=True, slots=True)
class StoredMacKey:
    """A key of row MACs as it lies at rest.

    Attributes:
        number: its place among all; the last one makes new MACs.
        key_id: what rows name it by.
        wrappings: the key under one KMS key each, in the order of their coming; any of them will do.
        next_wrapping: a number that is free for one more.
        made_at: when it was wrapped first.
        settled: whether it is so old that every process knows it.
    """

    number: int
    key_id: UUID
    wrappings: tuple[WrappedDek, ...]
    next_wrapping: int
    made_at: datetime
    settled: bool


_settled = row_mac_keys.c.wrapped_at <= func.clock_timestamp() - text(
    f"interval '{SETTLING_SECONDS} seconds'"
)
_ALL = (
    select(row_mac_keys, _settled.label("settled"))
    # The first come first: what somebody puts behind them, past the limit, is not looked at.
    .order_by(row_mac_keys.c.wrapped_at, row_mac_keys.c.number, row_mac_keys.c.wrapping)
    .limit(MOST_ROWS)
)
_Arn = String(255, collation="C")
_ENDED = (RewrapStatus.COMPLETED, RewrapStatus.COMPLETED_WITH_ERRORS)


class RowMacKeyStore:
    """Statements on `row_mac_keys`.

    Every method raises DatabaseUnavailable when PostgreSQL does not answer.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self) -> Sequence[StoredMacKey]:
        """Every key, in the order of their numbers."""
        async with self._database.connection() as connection:
            rows = (await connection.execute(_ALL)).all()
        numbers = sorted({row.number for row in rows})
        return [_key([row for row in rows if row.number == number]) for number in numbers]

    async def add(self, number: int, wrapping: int, key_id: UUID, wrapped: WrappedDek) -> bool:
        """Insert a key, or a wrapping of one; False when another process was faster: nothing is written."""
        statement = (
            insert(row_mac_keys)
            .values(
                number=number,
                wrapping=wrapping,
                key_id=key_id,
                wrapped_key=wrapped.blob,
                kms_key_id=wrapped.key_arn,
                kms_region=wrapped.region,
            )
            .on_conflict_do_nothing()
            .returning(row_mac_keys.c.number)
        )
        async with self._database.connection() as connection:
            return (await connection.execute(statement)).one_or_none() is not None

    async def was_left(self, kms_keys: Collection[str], since: datetime) -> bool:
        """Whether a rotation has since then moved everything away from one of these KMS keys."""
        left = (
            (rotations.c.status.in_(_ENDED))
            & ~rotations.c.dry_run
            & rotations.c.wrapped_before.is_(None)
            & (rotations.c.finished_at > since)
            & rotations.c.sources.bool_op("&&")(array(sorted(kms_keys), type_=_Arn))
        )
        async with self._database.connection() as connection:
            return bool((await connection.execute(select(exists().where(left)))).scalar_one())


def _key(rows: Sequence[Row[tuple[object, ...]]]) -> StoredMacKey:
    """One key of its rows, in the order of their coming."""
    first = rows[0]
    # A row of another id under this number is not this key's.
    ours = [row for row in rows if row.key_id == first.key_id]
    wrappings = tuple(
        WrappedDek(key_arn=row.kms_key_id, region=row.kms_region, blob=row.wrapped_key) for row in ours
    )
    free = min({*range(1, len(rows) + 2)} - {row.wrapping for row in rows})
    return StoredMacKey(first.number, first.key_id, wrappings, free, first.wrapped_at, first.settled)
