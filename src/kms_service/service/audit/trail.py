"""Reads the audit log: events by filter, newest first, in keyset pages."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from kms_service.store.audit.trail import AuditTrailStore, EventFilter, StoredRow

_PAGE_EVENTS = 500


@dataclass(frozen=True, slots=True)
class EventPage:
    """Events, newest first; pass `next_before` to get the next page; None when there are no more."""

    events: Sequence[StoredRow]
    next_before: int | None


class AuditTrail:
    """Reads the audit log. Every method raises DatabaseUnavailable when PostgreSQL does not answer."""

    def __init__(self, store: AuditTrailStore) -> None:
        self._store = store

    async def page(self, wanted: EventFilter, *, before: int | None, limit: int) -> EventPage:
        """Up to `limit` events with an id below `before`."""
        rows = await self._store.events(wanted, before=before, limit=limit + 1)
        more = len(rows) > limit
        return EventPage(rows[:limit], rows[limit - 1].id if more else None)

    async def newest(self, wanted: EventFilter, limit: int) -> AsyncIterator[StoredRow]:
        """The newest `limit` events, read page by page."""
        before = None
        while limit > 0:
            page = await self.page(wanted, before=before, limit=min(limit, _PAGE_EVENTS))
            for event in page.events:
                yield event
            limit -= len(page.events)
            before = page.next_before
            if before is None:
                return
