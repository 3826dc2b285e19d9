"""What operators set for all replicas, in one row of one statement: cheap enough to ask every second."""

from dataclasses import dataclass

from sqlalchemy import func, select

from kms_service.store.postgres.database import Database
from kms_service.store.postgres.tables import canary_wallets, pool_keys, seal_changes


@dataclass(frozen=True, slots=True)
class SharedState:
    """The state of all replicas; one member a switch. `draining` holds aliases, `canaries` user ids."""

    draining: frozenset[str]
    sealed: bool
    canaries: frozenset[str]


# One scalar subquery for each member of `SharedState`.
_READ = select(
    select(func.array_agg(pool_keys.c.alias))
    .where(pool_keys.c.mode == "draining")
    .scalar_subquery()
    .label("draining"),
    select(seal_changes.c.sealed)
    .order_by(seal_changes.c.id.desc())
    .limit(1)
    .scalar_subquery()
    .label("sealed"),
    select(func.array_agg(canary_wallets.c.user_id)).scalar_subquery().label("canaries"),
)


class SharedStateStore:
    """Reads the shared state. Raises DatabaseUnavailable when PostgreSQL does not answer."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self) -> SharedState:
        """The state now."""
        async with self._database.connection() as connection:
            row = (await connection.execute(_READ)).one()
        return SharedState(
            draining=frozenset(row.draining or ()),
            sealed=bool(row.sealed),
            canaries=frozenset(row.canaries or ()),
        )
