"""Reads the rows of the audit log for evidence: chain after chain, in pages, within a period."""

from collections.abc import AsyncIterator, Callable
from datetime import datetime

from kms_service.crypto.audit_chain import START
from kms_service.service.audit.chains import Head
from kms_service.store.audit.rows import AuditChainRow
from kms_service.store.audit.trail import AuditTrailStore, StoredRow

_PAGE_CHAINS = 200
_PAGE_ROWS = 1000


async def all_chains(store: AuditTrailStore) -> AsyncIterator[AuditChainRow]:
    """Every chain with a row in `audit_chains`: by number, then those from before there were numbers."""
    number = 0
    while page := await store.chains(after=number, limit=_PAGE_CHAINS):
        for chain in page:
            number = chain.number or number
            yield chain
    audit_chain_id = await store.chain_with_rows(after=None)
    while audit_chain_id is not None:
        found = await store.chain(audit_chain_id)
        if found is not None and found.number is None:
            yield found
        audit_chain_id = await store.chain_with_rows(after=audit_chain_id)


class AuditChainReader:
    """Reads the rows of one chain, from `since` (inclusive) to `until` (exclusive).

    Attributes:
        continues: whether the chain has newer rows; known once all were read.
    """

    def __init__(
        self, store: AuditTrailStore, chain: AuditChainRow, since: datetime | None, until: datetime
    ) -> None:
        self._store = store
        self._audit_chain_id = chain.audit_chain_id
        self._since = since
        self._until = until
        self._before = Head(0, START)
        self.continues = False

    async def skip(self) -> Head:
        """Skip the rows before `since`; returns the last of them, with place 0 if there is none."""
        place = 0 if self._since is None else await self._store.last_before(self._audit_chain_id, self._since)
        found = await self._store.rows(self._audit_chain_id, after=place - 1, limit=1) if place else ()
        if found:
            self._before = Head(found[0].row.seq, found[0].row.mac)
        return self._before

    async def read(self, on_rows: Callable[[int], None]) -> AsyncIterator[StoredRow]:
        """The rows in order of their place; `on_rows` is called with the number of rows just read."""
        after = self._before.seq
        while page := await self._store.rows(self._audit_chain_id, after=after, limit=_PAGE_ROWS):
            on_rows(len(page))
            for stored in page:
                if stored.row.at >= self._until:
                    self.continues = True
                    return
                yield stored
            after = page[-1].row.seq
