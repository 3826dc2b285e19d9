"""The `row_mac_keys` table: keys of row MACs, each wrapped by several KMS keys. Rows are only inserted."""

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

# A new key makes MACs only once it is this old: by then every process has it, and can check its MACs.
SETTLING_SECONDS = 60
# Whoever may insert rows must not be able to fill the memory, or to cause endless KMS calls.
MOST_ROWS = 500


@dataclass(frozen=True, slots=True)
class StoredMacKey:
    """A key of row MACs as stored.

    Attributes:
        number: its place among all; the last settled one makes new MACs.
        key_id: the id by which rows name it.
        wrappings: the key as wrapped by one KMS key each, in order of insertion; any of them will do.
        next_wrapping: a number that is free for another wrapping.
        made_at: when it was first wrapped, UTC.
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
    # Oldest first, so that rows which somebody adds beyond the limit are not read.
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
        """Every key, in order of number."""
        async with self._database.connection() as connection:
            rows = (await connection.execute(_ALL)).all()
        numbers = sorted({row.number for row in rows})
        return [_key([row for row in rows if row.number == number]) for number in numbers]

    async def add(self, number: int, wrapping: int, key_id: UUID, wrapped: WrappedDek) -> bool:
        """Insert a key, or another wrapping of one; False, writing nothing, if another process was faster."""
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
        """Whether a rotation that ended after `since` was to empty one of these KMS keys."""
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
    """The key in these rows, which are in order of insertion."""
    first = rows[0]
    # A row with another id under the same number does not belong to this key.
    ours = [row for row in rows if row.key_id == first.key_id]
    wrappings = tuple(
        WrappedDek(key_arn=row.kms_key_id, region=row.kms_region, blob=row.wrapped_key) for row in ours
    )
    free = min({*range(1, len(rows) + 2)} - {row.wrapping for row in rows})
    return StoredMacKey(first.number, first.key_id, wrappings, free, first.wrapped_at, first.settled)
