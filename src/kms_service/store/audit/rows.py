"""The `audit_chains` and `audit_events` tables: written by functions in the database, never changed.

The functions give out chain numbers and places, and let only the process that opened a chain write to it, so
that a role that may call them cannot block others. A wallet, a change of a token or an unsealing is inserted
by the same call as its audit row (`RecordedChange`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BindParameter, LargeBinary, Select, Table, bindparam, func, select

from kms_service.crypto.material import WrappedDek
from kms_service.store.audit.events import COLUMNS, AuditRow
from kms_service.store.postgres.database import Database
from kms_service.store.postgres.prepared import PreparedStatement
from kms_service.store.postgres.tables import audit_chains, audit_events


class PlaceTaken(Exception):
    """The chain's next place holds a row that its writer did not write; nothing was written."""


@dataclass(frozen=True, slots=True)
class AuditChainRow:
    """A chain: its number, which process writes it, and its MAC key as KMS wrapped it.

    `number` is None for chains from before there were numbers.
    """

    audit_chain_id: UUID
    number: int | None
    opened_at: datetime
    process: str
    mac_key: WrappedDek


@dataclass(frozen=True, slots=True)
class RecordedChange:
    """A change that is made by the same call as its audit row, so that neither exists without the other.

    Attributes:
        statement: a call of a database function that takes `WRITER_KEY`, `bind_event()`, and the change's own
            parameters. It returns `at`, the time of the change, and `now`, the database's time; no row if the
            change was not made; a row of nulls if a foreign row is in the audit row's place.
        parameters: the values of the change's own parameters.
    """

    statement: PreparedStatement
    parameters: Mapping[str, Any] = field(repr=False)


class AuditStore:
    """Calls of the functions that write the audit tables.

    `writer_key` proves who opened the chain: that process owns the secret, and the table holds its SHA-256.
    Every method raises DatabaseUnavailable when PostgreSQL does not answer.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def next_chain(self) -> tuple[int, datetime]:
        """The number that the next chain may take, and the database's time."""
        async with self._database.connection() as connection:
            number, now = (await connection.execute(_NEXT_CHAIN)).one()
        return number, now

    async def open_chain(self, chain: AuditChainRow, first: AuditRow, writer_key: bytes) -> bool:
        """Insert a chain and its first row together; False if another chain took its number."""
        parameters = {
            **_event_parameters(first, writer_key),
            "number": chain.number,
            "opened_at": chain.opened_at,
            "process": chain.process,
            "wrapped_mac_key": chain.mac_key.blob,
            "kms_region": chain.mac_key.region,
        }
        async with self._database.connection() as connection:
            return (await connection.execute(_OPEN_CHAIN, parameters)).scalar_one() is not None

    async def append(self, row: AuditRow, writer_key: bytes) -> datetime:
        """Insert one row, committed on return; returns the database's time.

        Raises:
            PlaceTaken: a foreign row is in its place.
        """
        answer = await self._database.row(_APPEND, _event_parameters(row, writer_key))
        if answer is None or answer.now is None:
            raise PlaceTaken
        at: datetime = answer.now
        return at

    async def append_with(
        self, row: AuditRow, writer_key: bytes, change: RecordedChange
    ) -> tuple[datetime, datetime] | None:
        """Make a change and insert its audit row together, committed on return.

        Returns:
            The time of the change, and the database's time; None if it was not made: nothing was written.

        Raises:
            PlaceTaken: a foreign row is in the audit row's place.
            DatabaseRefused: the login may not make the change.
        """
        parameters = {**_event_parameters(row, writer_key), **change.parameters}
        answer = await self._database.row(change.statement, parameters)
        if answer is None:
            return None
        if answer.now is None:
            raise PlaceTaken
        return answer.at, answer.now


def _event_parameters(row: AuditRow, writer_key: bytes) -> dict[str, Any]:
    """The values of `WRITER_KEY` and `bind_event()`."""
    return {"writer_key": writer_key, **row.columns()}


def bind_event() -> list[BindParameter[Any]]:
    """An audit row's parameters, in the order in which the database's functions take them."""
    return bind(audit_events, *COLUMNS)


def bind(table: Table, *names: str) -> list[BindParameter[Any]]:
    """Parameters with the names and types of these columns."""
    # Typed, so that PostgreSQL finds the right function whatever the values are.
    return [bindparam(name, type_=table.c[name].type) for name in names]


def _open_chain() -> Select[Any]:
    chain = bind(audit_chains, "number", "opened_at", "process", "wrapped_mac_key", "kms_region")
    return select(func.open_audit_chain(WRITER_KEY, *chain, *bind_event()))


# Built once: building a statement costs more than running it from SQLAlchemy's cache.
WRITER_KEY = bindparam("writer_key", type_=LargeBinary())
"""The parameter that proves who opened the chain."""
_NEXT = func.next_audit_chain().table_valued("number", "now")
_NEXT_CHAIN = select(_NEXT.c.number, _NEXT.c.now)
_OPEN_CHAIN = _open_chain()
_APPEND = PreparedStatement(select(func.append_audit_event(WRITER_KEY, *bind_event()).label("now")))
