"""The `wallet_imports` table: one-time keys to which callers encrypt what they import."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, func, text, update
from sqlalchemy.dialects.postgresql import insert

from kms_service.crypto.material import WrappedDek
from kms_service.store.postgres.database import Database
from kms_service.store.postgres.tables import wallet_imports

GOOD_FOR_MINUTES = 15
# Expired keys stay for a day, so that operators can see that a late caller's key once existed.
_KEPT = text("interval '1 day'")


@dataclass(frozen=True, slots=True)
class ImportKeyRow:
    """A one-time key, wrapped by KMS, and who asked for it."""

    import_id: UUID
    wrapped: WrappedDek
    created_by: str


class WalletImportStore:
    """Statements on `wallet_imports`.

    Every method raises DatabaseUnavailable when PostgreSQL does not answer.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, key: ImportKeyRow) -> datetime:
        """Store a key, and delete those that expired over a day ago; returns when this one expires (UTC)."""
        statement = (
            insert(wallet_imports)
            .values(
                import_id=key.import_id,
                wrapped_key=key.wrapped.blob,
                kms_key_id=key.wrapped.key_arn,
                kms_region=key.wrapped.region,
                created_by=key.created_by,
                expires_at=func.clock_timestamp() + text(f"interval '{GOOD_FOR_MINUTES} minutes'"),
            )
            .returning(wallet_imports.c.expires_at)
        )
        async with self._database.connection() as connection:
            await connection.execute(
                delete(wallet_imports).where(wallet_imports.c.expires_at < func.clock_timestamp() - _KEPT)
            )
            expires_at: datetime = (await connection.execute(statement)).scalar_one()
        return expires_at

    async def claim(self, import_id: UUID) -> WrappedDek | None:
        """Use up the key and return it, still wrapped; None if it was used, has expired, or never existed."""
        columns = wallet_imports.c
        statement = (
            update(wallet_imports)
            .values(used_at=func.clock_timestamp())
            .where(
                columns.import_id == import_id,
                columns.used_at.is_(None),
                columns.expires_at > func.clock_timestamp(),
            )
            .returning(columns.kms_key_id, columns.kms_region, columns.wrapped_key)
        )
        async with self._database.connection() as connection:
            row = (await connection.execute(statement)).one_or_none()
        return None if row is None else WrappedDek(row.kms_key_id, row.kms_region, row.wrapped_key)
