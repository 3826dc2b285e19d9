"""The `policies` table: every version of every policy as it was set, with its MAC."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import bindparam, func, select
from sqlalchemy.dialects.postgresql import distinct_on, insert

from kms_service.store.postgres.database import Database
from kms_service.store.postgres.tables import audit_events, policies

POLICY_SET = "policy.set"
"""The action of the audit rows that record a version."""


@dataclass(frozen=True, slots=True)
class PolicyRow:
    """A version of a policy as stored; not to be trusted before its MAC is checked.

    Attributes:
        document: the JSON text as the operator wrote it.
        set_by: the operator, as in the audit log.
        set_at: by the database's clock, UTC.
        mac: the MAC of name, version and document, under the key `mac_key_id`.
    """

    name: str
    version: int
    document: str
    set_by: str
    set_at: datetime
    mac: bytes
    mac_key_id: UUID


@dataclass(frozen=True, slots=True)
class RecordedVersion:
    """The detail of an audit row that records a version, and how many seconds ago it was written."""

    seconds_ago: float
    detail: str


_COLUMNS = (
    policies.c.name,
    policies.c.version,
    policies.c.document,
    policies.c.set_by,
    policies.c.set_at,
    policies.c.mac,
    policies.c.mac_key_id,
)
_NEWEST = (
    select(*_COLUMNS)
    .where(policies.c.name == bindparam("name"))
    .order_by(policies.c.version.desc())
    .limit(bindparam("limit"))
)
_RECORDED = (
    select(
        func.extract("epoch", func.clock_timestamp() - audit_events.c.at).label("seconds_ago"),
        audit_events.c.detail,
    )
    .where(
        audit_events.c.action == POLICY_SET,
        audit_events.c.outcome == "ok",
        func.split_part(audit_events.c.detail, " ", 1) == bindparam("name"),
    )
    .order_by(audit_events.c.id.desc())
    .limit(1)
)


class PolicyStore:
    """Statements on `policies`. Every method raises DatabaseUnavailable when PostgreSQL does not answer."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def newest(self, name: str) -> PolicyRow | None:
        """The newest version of a policy; None if no policy has this name."""
        found = await self.history(name, limit=1)
        return found[0] if found else None

    async def history(self, name: str, *, limit: int) -> list[PolicyRow]:
        """The versions of a policy, newest first."""
        async with self._database.connection() as connection:
            rows = await connection.execute(_NEWEST, {"name": name, "limit": limit})
            return [PolicyRow(**row._asdict()) for row in rows]

    async def find(self, name: str, version: int) -> PolicyRow | None:
        """One version of a policy, or None."""
        statement = select(*_COLUMNS).where(policies.c.name == name, policies.c.version == version)
        async with self._database.connection() as connection:
            row = (await connection.execute(statement)).one_or_none()
        return None if row is None else PolicyRow(**row._asdict())

    async def newest_of_all(self) -> Sequence[PolicyRow]:
        """The newest version of every policy, by name."""
        statement = (
            select(*_COLUMNS)
            .ext(distinct_on(policies.c.name))
            .order_by(policies.c.name, policies.c.version.desc())
        )
        async with self._database.connection() as connection:
            return [PolicyRow(**row._asdict()) for row in await connection.execute(statement)]

    async def insert(
        self, *, name: str, version: int, document: str, set_by: str, mac: bytes, mac_key_id: UUID
    ) -> PolicyRow | None:
        """Store a version; None if somebody else stored this version first."""
        statement = (
            insert(policies)
            .values(
                name=name,
                version=version,
                document=document,
                set_by=set_by,
                mac=mac,
                mac_key_id=mac_key_id,
            )
            .on_conflict_do_nothing()
            .returning(*_COLUMNS)
        )
        async with self._database.connection() as connection:
            row = (await connection.execute(statement)).one_or_none()
        return None if row is None else PolicyRow(**row._asdict())

    async def last_recorded(self, name: str) -> RecordedVersion | None:
        """The last audit row that records a version of this policy, or None."""
        async with self._database.connection() as connection:
            row = (await connection.execute(_RECORDED, {"name": name})).one_or_none()
        return None if row is None else RecordedVersion(float(row.seconds_ago), row.detail)
