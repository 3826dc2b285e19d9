"""The `audit_chain_keys` table: MAC keys of audit chains that were rewrapped.

A chain's own row is never changed. If there are rows here, the newest replaces the wrapped key in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, text
from sqlalchemy.dialects.postgresql import insert

from kms_service.crypto.material import WrappedDek
from kms_service.store.postgres.database import Database
from kms_service.store.postgres.tables import audit_chain_keys

_UNDER = text(
    """
    SELECT chain.chain_id, coalesce(anew.kms_key_id, chain.kms_key_id) AS kms_key_id,
        coalesce(anew.kms_region, chain.kms_region) AS kms_region,
        coalesce(anew.wrapped_mac_key, chain.wrapped_mac_key) AS wrapped_mac_key
    FROM audit_chains AS chain LEFT JOIN LATERAL (
        SELECT * FROM audit_chain_keys WHERE chain_id = chain.chain_id ORDER BY wrapped_at DESC LIMIT 1
    ) AS anew ON true
    WHERE coalesce(anew.kms_key_id, chain.kms_key_id) = ANY(:keys) AND chain.chain_id > :after
    ORDER BY chain.chain_id LIMIT :limit
    """
)
_FIRST = UUID(int=0)


@dataclass(frozen=True, slots=True)
class AuditChainKey:
    """A chain's MAC key as it is wrapped now."""

    audit_chain_id: UUID
    wrapped: WrappedDek


class AuditChainKeyStore:
    """Statements on `audit_chain_keys`.

    Every method raises DatabaseUnavailable when PostgreSQL does not answer.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list_under(
        self, keys: Sequence[str], *, after: UUID = _FIRST, limit: int = 100
    ) -> list[AuditChainKey]:
        """Up to `limit` MAC keys that one of these ARNs wraps now, after chain `after`, in order of id."""
        parameters = {"keys": list(keys), "after": after, "limit": limit}
        async with self._database.connection() as connection:
            return [
                AuditChainKey(row.chain_id, _read_wrapped(row))
                for row in await connection.execute(_UNDER, parameters)
            ]

    async def newest(self, audit_chain_id: UUID) -> WrappedDek | None:
        """The chain's MAC key as it was last rewrapped; None if it never was."""
        columns = audit_chain_keys.c
        statement = (
            select(columns.kms_key_id, columns.kms_region, columns.wrapped_mac_key)
            .where(columns.audit_chain_id == audit_chain_id)
            .order_by(columns.wrapped_at.desc())
            .limit(1)
        )
        async with self._database.connection() as connection:
            row = (await connection.execute(statement)).one_or_none()
        return None if row is None else _read_wrapped(row)

    async def add(self, key: AuditChainKey) -> None:
        """Replace the chain's wrapped key by this one from now on."""
        statement = insert(audit_chain_keys).values(
            audit_chain_id=key.audit_chain_id,
            wrapped_at=func.clock_timestamp(),
            wrapped_mac_key=key.wrapped.blob,
            kms_key_id=key.wrapped.key_arn,
            kms_region=key.wrapped.region,
        )
        async with self._database.connection() as connection:
            await connection.execute(statement)


def _read_wrapped(row: Any) -> WrappedDek:
    return WrappedDek(row.kms_key_id, row.kms_region, row.wrapped_mac_key)
