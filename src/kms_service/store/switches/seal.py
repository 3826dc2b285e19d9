"""The `seal_changes` table, into which rows are only inserted.

The newest row means that the service is sealed, unless it opens the seal and its MAC holds.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Row, Select, Subquery, cast, func, literal, select, text, true

from kms_service.crypto.material import RowMac
from kms_service.store.postgres.database import Database
from kms_service.store.postgres.tables import audit_events, seal_changes

# How many of the log's last rows about the seal are read; every process does so every second.
_LAST = 100


@dataclass(frozen=True, slots=True)
class SealChange:
    """One change of the seal: its direction, reason, actor, and time by the database's clock (UTC)."""

    sealed: bool
    reason: str | None
    actor: str
    at: datetime


@dataclass(frozen=True, slots=True)
class StoredSealChange:
    """A change of the seal as stored: not to be trusted before its MAC is checked.

    Attributes:
        row_id: the row's id.
        number: grows by one with every change; None in rows from before there were numbers.
        mac: None in rows from before there were MACs, and if the seal was closed while KMS did not answer.
    """

    row_id: int
    number: int | None
    change: SealChange
    mac: RowMac | None


@dataclass(frozen=True, slots=True)
class StoredSeal:
    """All that the database says about the seal.

    Attributes:
        newest: the newest row; None if there is none.
        highest: the highest number of any row; 0 if there is none.
        recorded: the highest number of a change in the audit log's last rows about the seal; 0 if none.
    """

    newest: StoredSealChange | None
    highest: int
    recorded: int


def _newest() -> Subquery:
    return select(seal_changes).order_by(seal_changes.c.id.desc()).limit(1).subquery("newest")


def _recorded_number() -> Any:
    # As in the index `ix_audit_events_seal`.
    last = (
        select(audit_events.c.detail)
        .where(text("starts_with(audit_events.action, 'seal.')"), audit_events.c.outcome == "ok")
        .order_by(audit_events.c.id.desc())
        .limit(_LAST)
        .subquery()
    )
    number = cast(func.substring(last.c.detail, r"^(\d{1,15})(?::|$)"), BigInteger)
    return func.coalesce(select(func.max(number)).scalar_subquery(), 0)


def with_seal(*columns: Any) -> Select[Any]:
    """A statement that returns one row: these columns, and after them what `seal_of` reads."""
    newest = _newest()
    highest = func.coalesce(select(func.max(seal_changes.c.number)).scalar_subquery(), 0)
    one = select(literal(1).label("one")).subquery()
    return select(
        *columns,
        newest.c.id.label("seal_id"),
        newest.c.number.label("seal_number"),
        newest.c.sealed,
        newest.c.reason.label("seal_reason"),
        newest.c.actor.label("seal_actor"),
        newest.c.at.label("seal_at"),
        newest.c.mac.label("seal_mac"),
        newest.c.mac_key_id.label("seal_mac_key_id"),
        highest.label("seal_highest"),
        _recorded_number().label("seal_recorded"),
    ).select_from(one.outerjoin(newest, true()))


def seal_of(row: Row[*tuple[Any, ...]]) -> StoredSeal:
    """What a row of such a statement says about the seal."""
    newest = None
    if row.seal_id is not None:
        change = SealChange(row.sealed, row.seal_reason, row.seal_actor, row.seal_at)
        mac = RowMac.of_columns(row.seal_mac_key_id, row.seal_mac)
        newest = StoredSealChange(row.seal_id, row.seal_number, change, mac)
    return StoredSeal(newest, row.seal_highest, row.seal_recorded)


_READ = with_seal()


class SealStore:
    """Statements on `seal_changes`.

    Every method raises DatabaseUnavailable when PostgreSQL does not answer.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def close(self, *, number: int, reason: str, actor: str, mac: RowMac | None) -> SealChange | None:
        """Insert a sealing, committed on return; for the other way see `unsealing`.

        Returns:
            The change; None if another change took this number: nothing was written then.
        """
        key_id, code = (None, None) if mac is None else (mac.key_id, mac.mac)
        statement = select(func.close_seal(number, reason, actor, code, key_id))
        async with self._database.connection() as connection:
            at = (await connection.execute(statement)).scalar_one()
        return None if at is None else SealChange(sealed=True, reason=reason, actor=actor, at=at)

    async def read(self) -> StoredSeal:
        """What the database says about the seal now."""
        async with self._database.connection() as connection:
            return seal_of((await connection.execute(_READ)).one())
