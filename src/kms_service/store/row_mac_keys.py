"""The `row_mac_keys` table: keys of row MACs as KMS wrapped them. Only ever inserted."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert

from kms_service.crypto.material import WrappedDek
from kms_service.store.postgres.database import Database
from kms_service.store.postgres.tables import row_mac_keys


@dataclass(frozen=True, slots=True)
class StoredMacKey:
    """A key of row MACs as it lies at rest.

    Attributes:
        number: its place among all; the key with the highest makes new MACs.
        wrapping: 1 for the first, one more for each time that it was wrapped anew.
        key_id: what rows name it by.
        wrapped: the key under KMS.
    """

    number: int
    wrapping: int
    key_id: UUID
    wrapped: WrappedDek


_ALL = select(
    row_mac_keys.c.number,
    row_mac_keys.c.wrapping,
    row_mac_keys.c.key_id,
    row_mac_keys.c.kms_key_id,
    row_mac_keys.c.kms_region,
    row_mac_keys.c.wrapped_key,
).order_by(row_mac_keys.c.number, row_mac_keys.c.wrapping)


class RowMacKeyStore:
    """Statements on `row_mac_keys`.

    Every method raises DatabaseUnavailable when PostgreSQL does not answer.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def newest(self) -> Sequence[StoredMacKey]:
        """Every key by number, each as it was last wrapped."""
        async with self._database.connection() as connection:
            rows = (await connection.execute(_ALL)).all()
        # Keys and their wrappings are few; the last of a number is the one that counts.
        newest = {
            row[0]: StoredMacKey(row[0], row[1], row[2], WrappedDek(row[3], row[4], row[5])) for row in rows
        }
        return list(newest.values())

    async def add(self, key: StoredMacKey) -> bool:
        """Insert a key, or a wrapping of one; False when another process was faster: nothing is written."""
        statement = (
            insert(row_mac_keys)
            .values(
                number=key.number,
                wrapping=key.wrapping,
                key_id=key.key_id,
                wrapped_key=key.wrapped.blob,
                kms_key_id=key.wrapped.key_arn,
                kms_region=key.wrapped.region,
                wrapped_at=func.clock_timestamp(),
            )
            .on_conflict_do_nothing()
            .returning(row_mac_keys.c.number)
        )
        async with self._database.connection() as connection:
            return (await connection.execute(statement)).one_or_none() is not None
