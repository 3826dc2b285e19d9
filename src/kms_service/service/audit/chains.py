"""The audit chains of one process: opened, borrowed for one row at a time, closed.

A process has a few chains and one random MAC key, which KMS wraps so that the database's owner cannot forge a
row. Chains are numbered without a gap, and the first row of each covers its number, so that neither a row nor
a whole chain can vanish unnoticed. Only the end of a chain could; the heads in the log stream reveal that.
"""

import asyncio
import os
import secrets
import socket
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from kms_service.crypto import audit_chain, envelope
from kms_service.crypto.material import DataKey, WrappedDek
from kms_service.errors import AuditUnavailable, KmsServiceError
from kms_service.kms.pool import KmsKeyPool
from kms_service.store.audit.events import AuditRow, Event
from kms_service.store.audit.rows import AuditChainRow, AuditStore, PlaceTaken
from kms_service.telemetry import metrics
from kms_service.telemetry.logs import get_evidence_logger, get_logger

CONTEXT = {"purpose": "audit-chain"}
OPENED = "audit.open"
CLOSED = "audit.close"
# The actor of the rows that open and close chains: the service itself.
ACTOR = "kms-service"
_OPENING_ATTEMPTS = 50
_WRITER_KEY_BYTES = 32

log = get_logger()
evidence = get_evidence_logger()


@dataclass(frozen=True, slots=True)
class Head:
    """The last committed row of a chain: its place and its MAC."""

    seq: int
    mac: bytes


@dataclass(frozen=True, slots=True)
class _Clock:
    """The database's time, kept up by the monotonic clock until the next insert returns it again."""

    at: datetime
    seen: float

    def now(self) -> datetime:
        return self.at + timedelta(seconds=time.monotonic() - self.seen)


class AuditChain:
    """One chain, used by one task at a time."""

    def __init__(self, audit_chain_id: uuid.UUID, number: int, key: DataKey, now: datetime) -> None:
        self.audit_chain_id = audit_chain_id
        self.number = number
        # The database stores its digest, and accepts rows of this chain only with this key.
        self.writer_key = secrets.token_bytes(_WRITER_KEY_BYTES)
        self.head = Head(0, audit_chain.START)
        self.logged = self.head
        self._key = key
        self._clock = _Clock(now, time.monotonic())

    def link(self, event: Event, *, actor: str, request_id: str | None) -> AuditRow:
        """The next row of this chain: the event with its place, the database's time, and its MAC."""
        row = AuditRow(
            audit_chain_id=self.audit_chain_id,
            seq=self.head.seq + 1,
            at=self._clock.now(),
            actor=actor,
            request_id=request_id,
            event=event,
            mac=b"",
        )
        return replace(row, mac=audit_chain.link(self._key, self.head.mac, covered_fields(row)))

    def advance(self, row: AuditRow, now: datetime) -> None:
        """Make a committed row the new head; `now` is the database's time."""
        self.head = Head(row.seq, row.mac)
        self._clock = _Clock(now, time.monotonic())
        metrics.series(metrics.audit_rows, row.event.action, row.event.outcome).inc()
        metrics.audit_last_row.set(now.timestamp())

    def log_head(self) -> Head | None:
        """Write the head to the log stream, out of the database's reach; returns it, None if it was there."""
        head = self.head
        if head is self.logged:
            return None
        evidence.info(
            "audit_head", chain=str(self.audit_chain_id), number=self.number, seq=head.seq, mac=head.mac.hex()
        )
        self.logged = head
        return head


class AuditChains:
    """The chains of one process: as many as it ever needed at the same time.

    Args:
        note: called with every head that is written to the log stream; None if heads are kept nowhere else.
    """

    def __init__(
        self, store: AuditStore, pool: KmsKeyPool, note: Callable[[uuid.UUID, Head], None] | None
    ) -> None:
        self._store = store
        self._pool = pool
        self._note = note
        self._idle: list[AuditChain] = []
        self._open: dict[uuid.UUID, AuditChain] = {}
        self._opening = asyncio.Lock()
        self._begun = False
        self._key: tuple[DataKey, WrappedDek] | None = None

    @property
    def begun(self) -> bool:
        """Whether a chain was ever opened: from then on the MAC key is here, and new chains need no KMS."""
        return self._begun

    async def begin(self) -> None:
        """Open a chain if none is idle, to be borrowed later.

        Raises:
            AuditUnavailable: no chain could be opened.
        """
        async with self.borrow():
            pass

    @asynccontextmanager
    async def borrow(self) -> AsyncIterator[AuditChain]:
        """A chain that only this task uses until the block ends.

        After an error inside, the chain's head in the database is unknown, so the chain is never used again.
        The same holds after PlaceTaken, which is passed on: a foreign row is in the chain's next place.

        Raises:
            AuditUnavailable: no chain could be opened; nothing was written.
        """
        chain = self._idle.pop() if self._idle else None
        chain = chain or await self._open_in_turn()
        try:
            yield chain
        except PlaceTaken:
            metrics.audit_foreign_rows.inc()
            log.error(
                "audit_foreign_row",
                chain=str(chain.audit_chain_id),
                number=chain.number,
                seq=chain.head.seq + 1,
            )
            self._abandon(chain)
            raise
        except BaseException:
            self._abandon(chain)
            raise
        self._idle.append(chain)

    def log_heads(self) -> None:
        """Write every head that has moved to the log stream; run regularly."""
        for chain in self._open_chains():
            self._tell_head(chain)

    async def close(self) -> None:
        """End the idle chains with a closing row each, so that no end can be cut off unnoticed."""
        idle, self._idle = self._idle, []
        try:
            for chain in idle:
                row = chain.link(Event(CLOSED), actor=ACTOR, request_id=None)
                chain.advance(row, await self._store.append(row, chain.writer_key))
        except (KmsServiceError, PlaceTaken):
            log.warning("audit_chains_not_closed")  # after one failure the others would only wait too
        self.log_heads()

    def _tell_head(self, chain: AuditChain) -> None:
        head = chain.log_head()
        if head is not None and self._note is not None:
            self._note(chain.audit_chain_id, head)

    def _open_chains(self) -> Sequence[AuditChain]:
        return tuple(self._open.values())

    def _abandon(self, chain: AuditChain) -> None:
        self._open.pop(chain.audit_chain_id, None)
        log.warning("audit_chain_abandoned", chain=str(chain.audit_chain_id), number=chain.number)
        self._tell_head(chain)

    async def _open_in_turn(self) -> AuditChain:
        # One at a time: the tasks of one process would race for the next number.
        async with self._opening:
            try:
                chain = await self._open_new()
            except KmsServiceError as error:
                raise AuditUnavailable from error
        self._begun = True
        self._open[chain.audit_chain_id] = chain
        self._tell_head(chain)
        return chain

    async def _open_new(self) -> AuditChain:
        key, wrapped = await self._mac_key()
        process = f"{socket.gethostname()[:150]}:{os.getpid()}"
        for _ in range(_OPENING_ATTEMPTS):
            number, now = await self._store.next_chain()
            chain = AuditChain(uuid.uuid4(), number, key, now)
            event = Event(OPENED, kms_key_id=wrapped.key_arn, detail=opening_detail(number, process))
            row = chain.link(event, actor=ACTOR, request_id=None)
            opened = AuditChainRow(chain.audit_chain_id, number, row.at, process, wrapped)
            if await self._store.open_chain(opened, row, chain.writer_key):
                chain.advance(row, now)
                return chain
        raise AuditUnavailable

    async def _mac_key(self) -> tuple[DataKey, WrappedDek]:
        if self._key is None:
            key = envelope.new_data_key()
            self._key = (key, (await self._pool.wrap(key, CONTEXT)).dek)
        return self._key


def opening_detail(number: int | None, process: str) -> str:
    """The detail of a chain's first row: the facts about the chain that the row's MAC must cover."""
    return f"chain {number} of {process}"


def covered_fields(row: AuditRow) -> list[str | None]:
    """The fields that a row's MAC covers, as text in a fixed order: all but the MAC itself."""
    return [_text(value) for name, value in row.columns().items() if name != "mac"]


def _text(value: object) -> str | None:
    if isinstance(value, datetime):
        return value.isoformat(timespec="microseconds")
    return None if value is None else str(value)
