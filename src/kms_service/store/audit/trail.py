"""Reads the audit tables for auditors: chains in order, rows by place, events by filter; in pages."""

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, Select, exists, func, select

from kms_service.crypto.material import WrappedDek
from kms_service.store.audit.events import COLUMNS, AuditRow, row_of
from kms_service.store.audit.rows import AuditChainRow
from kms_service.store.postgres.database import Database
from kms_service.store.postgres.tables import audit_chain_numbers, audit_chains, audit_events, tokens


@dataclass(frozen=True, slots=True)
class StoredRow:
    """An audit row as stored; `id` grows in the order of insertion."""

    id: int
    row: AuditRow


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events to list; None admits all. `since` is inclusive, `until` is exclusive.

    `without_canaries` leaves out the events that reveal which wallets are canaries.
    """

    user_id: str | None = None
    actor: str | None = None
    action: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    outcome: str | None = None
    kms_key_id: str | None = None
    without_canaries: bool = False


_ROW = tuple(audit_events.c[name] for name in COLUMNS)


class AuditTrailStore:
    """Statements that read the audit tables; each reads few rows, whatever the tables' size.

    Every method raises DatabaseUnavailable when PostgreSQL does not answer.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def chains(self, *, after: int, limit: int) -> Sequence[AuditChainRow]:
        """Up to `limit` numbered chains after number `after`, in order of number."""
        statement = (
            select(audit_chains)
            .where(audit_chains.c.number > after)
            .order_by(audit_chains.c.number)
            .limit(limit)
        )
        async with self._database.connection() as connection:
            return [_chain(row) for row in await connection.execute(statement)]

    async def last_number(self) -> int | None:
        """The last number that the database gave to a chain; None if the row that holds it was removed."""
        async with self._database.connection() as connection:
            last: int | None = (
                await connection.execute(select(audit_chain_numbers.c.last))
            ).scalar_one_or_none()
        return last

    async def chain(self, audit_chain_id: UUID) -> AuditChainRow | None:
        """One chain, or None."""
        async with self._database.connection() as connection:
            row = (
                await connection.execute(
                    select(audit_chains).where(audit_chains.c.audit_chain_id == audit_chain_id)
                )
            ).one_or_none()
        return None if row is None else _chain(row)

    async def rows(self, audit_chain_id: UUID, *, after: int, limit: int) -> Sequence[StoredRow]:
        """Up to `limit` rows of a chain after place `after`, in order of place."""
        statement = (
            select(audit_events.c.id, *_ROW)
            .where(audit_events.c.audit_chain_id == audit_chain_id, audit_events.c.seq > after)
            .order_by(audit_events.c.seq)
            .limit(limit)
        )
        async with self._database.connection() as connection:
            return [_read(row) for row in await connection.execute(statement)]

    async def last_before(self, audit_chain_id: UUID, since: datetime) -> int:
        """The place of the last row of a chain that is older than `since`; 0 if none is."""
        statement = (
            select(audit_events.c.seq)
            .where(audit_events.c.audit_chain_id == audit_chain_id, audit_events.c.at < since)
            .order_by(audit_events.c.seq.desc())
            .limit(1)
        )
        async with self._database.connection() as connection:
            return (await connection.execute(statement)).scalar_one_or_none() or 0

    async def chain_with_rows(self, *, after: UUID | None) -> UUID | None:
        """The next chain id after `after` that has rows; one index probe, however many rows it has."""
        statement = select(audit_events.c.audit_chain_id).order_by(audit_events.c.audit_chain_id).limit(1)
        if after is not None:
            statement = statement.where(audit_events.c.audit_chain_id > after)
        async with self._database.connection() as connection:
            return (await connection.execute(statement)).scalar_one_or_none()

    async def highest_id(self) -> int:
        """About how many rows there are: ids have few gaps."""
        async with self._database.connection() as connection:
            return (await connection.execute(select(func.max(audit_events.c.id)))).scalar_one() or 0

    async def tokens_exist(self) -> bool:
        """Whether there is any token. A token is never created without an audit row."""
        async with self._database.connection() as connection:
            return bool((await connection.execute(select(exists(select(tokens.c.name))))).scalar_one())

    async def events(self, wanted: EventFilter, *, before: int | None, limit: int) -> Sequence[StoredRow]:
        """Up to `limit` events with an id below `before`, newest first."""
        async with self._database.connection() as connection:
            return [_read(row) for row in await connection.execute(_events(wanted, before, limit))]


_OF_CANARIES = ("canary.add", "canary.remove")


def _events(wanted: EventFilter, before: int | None, limit: int) -> Select[Any]:
    columns = audit_events.c
    conditions: tuple[tuple[Any, Callable[[Any, Any], Any], Any], ...] = (
        (columns.user_id, operator.eq, wanted.user_id),
        (columns.actor, operator.eq, wanted.actor),
        (columns.action, operator.eq, wanted.action),
        (columns.outcome, operator.eq, wanted.outcome),
        (columns.kms_key_id, operator.eq, wanted.kms_key_id),
        (columns.at, operator.ge, wanted.since),
        (columns.at, operator.lt, wanted.until),
        (columns.id, operator.lt, before),
    )
    admitted = [compare(column, value) for column, compare, value in conditions if value is not None]
    if wanted.without_canaries:
        admitted.append(columns.action.not_in(_OF_CANARIES))
    return select(columns.id, *_ROW).where(*admitted).order_by(columns.id.desc()).limit(limit)


def _read(row: Row[Any]) -> StoredRow:
    return StoredRow(row.id, row_of(row))


def _chain(row: Row[Any]) -> AuditChainRow:
    wrapped = WrappedDek(row.kms_key_id, row.kms_region, row.wrapped_mac_key)
    return AuditChainRow(row.audit_chain_id, row.number, row.opened_at, row.process, wrapped)
