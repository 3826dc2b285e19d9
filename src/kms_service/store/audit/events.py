"""An audit event's fields, each defined once: what happened, and the row that puts it on record.

The names are those of the table's columns. So is their order, which must never change: the database's
functions take the values in this order, and a row's MAC covers them in it.
"""

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from kms_service.store.postgres.tables import audit_events

OK = "ok"


@dataclass(frozen=True, slots=True)
class Event:
    """What happened; the log adds who, when and which request.

    Attributes:
        action: a static name such as `private_key.read`.
        outcome: `ok`, or the error code that the caller got.
        detail: what else an auditor needs, such as the digest of what was signed; never a secret.
    """

    action: str
    outcome: str = OK
    user_id: str | None = None
    wallet_address: str | None = None
    kms_key_id: str | None = None
    kms_request_id: str | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One link of a chain, complete with its MAC; `at` is UTC."""

    audit_chain_id: UUID
    seq: int
    at: datetime
    actor: str
    request_id: str | None
    event: Event
    mac: bytes

    def columns(self) -> dict[str, Any]:
        """The values by column, in the order of `COLUMNS`."""
        return {name: getattr(self.event if name in _OF_EVENT else self, name) for name in COLUMNS}


COLUMNS = tuple(column.key for column in audit_events.columns if column.key != "id")
"""The columns of a row, without the id that the database gives it."""
_OF_EVENT = frozenset(field.name for field in fields(Event))
_OF_ROW = frozenset(field.name for field in fields(AuditRow)) - {"event"}


def row_of(found: Row[Any]) -> AuditRow:
    """The audit row in a row of the columns `COLUMNS`."""
    event = Event(**{name: getattr(found, name) for name in _OF_EVENT})
    return AuditRow(event=event, **{name: getattr(found, name) for name in _OF_ROW})
