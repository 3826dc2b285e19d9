"""Walks one audit chain: recomputes every MAC, and names the first row that is not what was written."""

import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from kms_service.crypto import audit_chain
from kms_service.crypto.audit_chain import BrokenLink
from kms_service.crypto.material import DataKey
from kms_service.service.audit.chains import CLOSED, OPENED, Head, covered_fields, opening_detail
from kms_service.store.audit.events import AuditRow
from kms_service.store.audit.rows import AuditChainRow
from kms_service.store.audit.trail import AuditTrailStore, StoredRow

PAGE_ROWS = 1000


class Tampering(StrEnum):
    """What was done to a row or a chain."""

    CHANGED = "changed"
    CHANGED_OR_INSERTED = "changed or inserted"
    REMOVED = "removed"
    INSERTED = "inserted"
    REORDERED = "reordered"
    CUT_OFF = "cut off"
    CHAIN_REMOVED = "chain removed"
    CHAIN_CHANGED = "chain changed"
    CHAIN_UNCHECKED = "chain unchecked"


@dataclass(frozen=True, slots=True)
class Finding:
    """The first thing wrong with a chain.

    Attributes:
        number: the chain's number; None if the table does not say.
        seq: the row's place in its chain; None if the finding is about the whole chain.
        row_id: `audit_events.id` of the row at this place, if there is one.
        says: one sentence for people.
    """

    kind: Tampering
    audit_chain_id: uuid.UUID | None
    number: int | None
    seq: int | None
    row_id: int | None
    says: str


class AuditChainWalk:
    """One walk along one chain, in pages, so that memory does not grow with the chain.

    Attributes:
        head: the last row so far that is as it was written.
        closed: whether that row is the chain's closing row.
    """

    def __init__(
        self, store: AuditTrailStore, chain: AuditChainRow, key: DataKey, on_rows: Callable[[int], None]
    ) -> None:
        self._store = store
        self._chain = chain
        self._key = key
        self._on_rows = on_rows
        self._last_id = 0
        self.head = Head(0, audit_chain.START)
        self.closed = False

    async def run(self, since: datetime | None, logged: Head | None) -> Finding | None:
        """The first row that is wrong, or None.

        Args:
            since: begin with the last row before this time, and trust the MAC of the row before it; None for
                the whole chain.
            logged: the newest known head of this chain, from outside the database; the table must agree.

        Raises:
            DatabaseUnavailable: PostgreSQL does not answer.
        """
        missing = None if since is None else await self._skip_to(since)
        return missing or await self._first_tampering(logged) or self._cut(logged)

    async def _skip_to(self, since: datetime) -> Finding | None:
        trusted = await self._store.last_before(self._chain.audit_chain_id, since) - 1
        if trusted < 1:
            return None
        found = await self._store.rows(self._chain.audit_chain_id, after=trusted - 1, limit=1)
        if not found or found[0].row.seq != trusted:
            return self._finding(Tampering.REMOVED, trusted, None)
        self.head, self._last_id = Head(trusted, found[0].row.mac), found[0].id
        return None

    async def _first_tampering(self, logged: Head | None) -> Finding | None:
        async for stored in self._rows(self.head.seq, self._on_rows):
            kind = await self._tampering(stored)
            if kind is not None:
                at = stored.id if stored.row.seq == self.head.seq + 1 else None
                return self._finding(kind, self.head.seq + 1, at)
            if logged is not None and logged.seq == stored.row.seq and logged.mac != stored.row.mac:
                return self._finding(Tampering.CHANGED, logged.seq, stored.id)
            self.head, self._last_id = Head(stored.row.seq, stored.row.mac), stored.id
            self.closed = stored.row.event.action == CLOSED
        return None

    def _cut(self, logged: Head | None) -> Finding | None:
        if self.head.seq == 0:
            return self._finding(Tampering.REMOVED, 1, None)
        if logged is not None and logged.seq > self.head.seq:
            return self._finding(Tampering.CUT_OFF, self.head.seq + 1, None)
        return None

    async def _rows(self, after: int, on_rows: Callable[[int], None]) -> AsyncIterator[StoredRow]:
        while page := await self._store.rows(self._chain.audit_chain_id, after=after, limit=PAGE_ROWS):
            on_rows(len(page))
            for stored in page:
                yield stored
            after = page[-1].row.seq

    async def _tampering(self, stored: StoredRow) -> Tampering | None:
        row = stored.row
        if row.seq != self.head.seq + 1:
            return Tampering.REORDERED if await self._find_displaced() else Tampering.REMOVED
        if not self._follows(self.head.mac, row):
            return await self._diagnosis(row)
        if stored.id <= self._last_id:
            return Tampering.REORDERED
        return None if row.seq > 1 or _opens(self._chain, row) else Tampering.CHAIN_CHANGED

    async def _diagnosis(self, row: AuditRow) -> Tampering:
        """How a row that does not belong in the next place came to be there."""
        if self.closed:
            return Tampering.INSERTED
        displaced = await self._find_displaced()
        if displaced is not None:
            before = await self._mac_before(displaced.seq, displaced.mac)
            genuine = self._follows(before, replace(row, seq=displaced.seq))
            return Tampering.REORDERED if genuine else Tampering.INSERTED
        last = not await self._store.rows(self._chain.audit_chain_id, after=row.seq, limit=1)
        return Tampering.CHANGED_OR_INSERTED if last else Tampering.CHANGED

    async def _find_displaced(self) -> AuditRow | None:
        """The row that was written for the next place, if it is now in a later one."""
        seq = self.head.seq + 1
        async for stored in self._rows(seq, _count_nothing):
            if self._follows(self.head.mac, replace(stored.row, seq=seq)):
                return stored.row
        return None

    async def _mac_before(self, seq: int, otherwise: bytes) -> bytes:
        if seq == self.head.seq + 2:
            return otherwise
        found = await self._store.rows(self._chain.audit_chain_id, after=seq - 2, limit=1)
        return found[0].row.mac if found else otherwise

    def _follows(self, previous: bytes, row: AuditRow) -> bool:
        try:
            audit_chain.verify(self._key, previous, covered_fields(row), row.mac)
        except BrokenLink:
            return False
        return True

    def _finding(self, kind: Tampering, seq: int, row_id: int | None) -> Finding:
        chain = self._chain
        event = "" if row_id is None else f" (event {row_id})"
        says = f"row {seq} of chain {chain.number}{event} {_SAYS[kind]}"
        return Finding(kind, chain.audit_chain_id, chain.number, seq, row_id, says)


def _count_nothing(_rows: int) -> None:
    """Count nothing: these rows were counted when they were first read."""


def _opens(chain: AuditChainRow, first: AuditRow) -> bool:
    if chain.number is None:
        return first.event.action != OPENED
    event = first.event
    told = (event.action, event.detail, first.at, event.kms_key_id)
    return told == (
        OPENED,
        opening_detail(chain.number, chain.process),
        chain.opened_at,
        chain.mac_key.key_arn,
    )


_SAYS = {
    Tampering.CHANGED: "was changed",
    Tampering.CHANGED_OR_INSERTED: "was changed, or inserted after the last one",
    Tampering.REMOVED: "was removed",
    Tampering.INSERTED: "was inserted",
    Tampering.REORDERED: "was reordered",
    Tampering.CUT_OFF: "and all after it were cut off: heads outside the database prove it",
    Tampering.CHAIN_CHANGED: "tells of another chain: the row in audit_chains was changed",
}
