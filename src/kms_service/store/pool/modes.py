"""The `pool_keys` table: the modes that operators set for keys, for all replicas and over restarts."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from kms_service.store.postgres.database import Database
from kms_service.store.postgres.tables import pool_keys

_ONE_AT_A_TIME = 0x6B6D735F706F6F6C  # "kms_pool": the key of an advisory lock
_DRAINING = select(pool_keys.c.alias).where(pool_keys.c.mode == "draining")


class ModeChange:
    """A change of modes under way; nobody else can change any until it commits."""

    def __init__(self, connection: AsyncConnection, draining: frozenset[str]) -> None:
        self._connection = connection
        self.draining = draining

    async def set(self, alias: str, mode: str) -> None:
        """Set the key's mode."""
        statement = insert(pool_keys).values(alias=alias, mode=mode, changed_at=func.now())
        await self._connection.execute(
            statement.on_conflict_do_update(
                index_elements=[pool_keys.c.alias],
                set_={"mode": statement.excluded.mode, "changed_at": statement.excluded.changed_at},
            )
        )


class PoolKeyStore:
    """Statements on `pool_keys`. Every method raises DatabaseUnavailable when PostgreSQL does not answer."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @asynccontextmanager
    async def change(self) -> AsyncIterator[ModeChange]:
        """A change that sees all earlier ones and is committed at the end; changes never interleave."""
        async with self._database.transaction() as connection:
            await connection.execute(select(func.pg_advisory_xact_lock(_ONE_AT_A_TIME)))
            yield ModeChange(connection, frozenset((await connection.execute(_DRAINING)).scalars()))
