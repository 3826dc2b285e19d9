"""Reads what operators set for all replicas by one statement, cheap enough to run every second."""

from dataclasses import dataclass

from sqlalchemy import func, select

from kms_service.store.postgres.database import Database
from kms_service.store.postgres.tables import canary_wallets, pool_keys
from kms_service.store.switches.seal import StoredSeal, seal_of, with_seal


@dataclass(frozen=True, slots=True)
class StoredState:
    """What operators set for all replicas, as stored.

    `draining` holds aliases, `canaries` user ids; `seal` is not to be trusted before its MAC is checked.
    """

    draining: frozenset[str]
    seal: StoredSeal
    canaries: frozenset[str]


# One scalar subquery for each member of `StoredState` but the seal.
_READ = with_seal(
    select(func.array_agg(pool_keys.c.alias))
    .where(pool_keys.c.mode == "draining")
    .scalar_subquery()
    .label("draining"),
    select(func.array_agg(canary_wallets.c.user_id)).scalar_subquery().label("canaries"),
)


class SharedStateStore:
    """Reads the shared state. Raises DatabaseUnavailable when PostgreSQL does not answer."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self) -> StoredState:
        """The state now."""
        async with self._database.connection() as connection:
            row = (await connection.execute(_READ)).one()
        return StoredState(
            draining=frozenset(row.draining or ()),
            seal=seal_of(row),
            canaries=frozenset(row.canaries or ()),
        )
