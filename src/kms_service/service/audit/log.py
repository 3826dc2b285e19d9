"""Writes the audit log: a chained and committed row before anything secret leaves (invariant 3).

A chain is borrowed for one insert, like a connection, so that writers do not wait for each other.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from kms_service import context
from kms_service.access.scopes import Caller
from kms_service.errors import AuditUnavailable, DatabaseUnavailable, KmsServiceError
from kms_service.kms.pool import KmsKeyPool
from kms_service.service.audit.chains import AuditChain, AuditChains
from kms_service.service.audit.outside import HeadKeeper
from kms_service.store.audit.events import OK, AuditRow, Event
from kms_service.store.audit.rows import AuditStore, PlaceTaken, RecordedChange
from kms_service.telemetry.logs import get_logger

__all__ = ["OK", "AuditLog", "Event"]

_ATTEMPTS = 3
BEGIN_SECONDS = 2.0
log = get_logger()

Answer = TypeVar("Answer")


class AuditLog:
    """Writes the audit rows of one process.

    Args:
        store: inserts the rows.
        pool: its keys wrap the chains' MAC key.
        outside: keeps heads outside the database; None if AUDIT_HEADS_URL is not set.
    """

    def __init__(self, store: AuditStore, pool: KmsKeyPool, outside: HeadKeeper | None) -> None:
        self._store = store
        self._outside = outside
        self._chains = AuditChains(store, pool, None if outside is None else outside.note)

    @property
    def begun(self) -> bool:
        """Whether this process has opened a chain, so that it can put releases on record."""
        return self._chains.begun

    async def try_to_begin(self) -> None:
        """Open the first chain, or log why not; run regularly. The process is not ready until it has one."""
        if self._chains.begun:
            return
        try:
            await self._chains.begin()
            if self._outside is not None:
                await self._outside.keep()
        except AuditUnavailable as error:
            cause = error.__cause__
            log.error("audit_chain_not_opened", code=getattr(cause, "code", error.code))

    async def check(self) -> None:
        """Pass if a row can be written, as far as is known. Ask before a KMS call that must be recorded.

        It costs nothing once this process has opened a chain.

        Raises:
            AuditUnavailable: no chain can be opened, as on a standby.
        """
        if not self._chains.begun:
            await self._chains.begin()

    async def record(self, caller: Caller, event: Event) -> None:
        """Commit one row: the caller did this.

        Raises:
            AuditUnavailable: the row may be missing, so what it is about must not leave.
        """

        # 1. A chain that only this task uses, so that its head is known and nobody appends between 2 and 3.
        # 2. The row takes the place after that head; its MAC covers the MAC before it.
        # 3. It is committed in that place, or nothing is: the database refuses a place that is taken.
        # 4. Only then is it the head. If the outcome of 3 is unknown, the chain is never used again, so that
        #    no second row claims the place (invariant 15).
        async def write(chain: AuditChain) -> None:
            row = _link(chain, caller, event)
            chain.advance(row, await self._store.append(row, chain.writer_key))

        try:
            await self._use_chain(write)
        except KmsServiceError as error:
            raise AuditUnavailable from error

    async def record_with(self, caller: Caller, event: Event, change: RecordedChange) -> datetime | None:
        """Commit a change and its audit row together: neither exists without the other.

        Args:
            caller: who makes it.
            event: what is put on record.
            change: a wallet's creation, a token's change, or an unsealing.

        Returns:
            The time of the change; None if it cannot be made, as its maker documents: nothing was written.

        Raises:
            DatabaseRefused: this process's login may not make the change; nothing was written.
            DatabaseUnavailable: both rows are there, or neither is; which is unknown.
            AuditUnavailable: no chain could be used; nothing was written.
        """

        async def write(chain: AuditChain) -> datetime | None:
            row = _link(chain, caller, event)
            times = await self._store.append_with(row, chain.writer_key, change)
            if times is None:
                return None
            made_at, now = times
            chain.advance(row, now)
            return made_at

        return await self._use_chain(write)

    def refusals(self, caller: Caller, event: Event) -> "_Refusals":
        """Record `event` with the error's code if the work in the block fails, and pass the error on.

        Raises:
            AuditUnavailable: the refusal could not be recorded.
        """
        return _Refusals(self, caller, event)

    async def tell_heads(self) -> None:
        """Write every head that has moved to the log stream and to the place outside; run regularly."""
        self._chains.log_heads()
        if self._outside is not None:
            await self._outside.keep()

    async def _use_chain(self, write: Callable[[AuditChain], Awaitable[Answer]]) -> Answer:
        # A foreign row in one chain stops nobody: nothing was written, so another chain takes the row.
        for _ in range(_ATTEMPTS):
            with suppress(PlaceTaken):
                async with self._chains.borrow() as chain:
                    return await write(chain)
        raise AuditUnavailable

    async def close(self) -> None:
        """End the idle chains of this process with a closing row each."""
        await self._chains.close()
        if self._outside is not None:
            await self._outside.keep()


class _Refusals:
    __slots__ = ("_caller", "_event", "_log")

    def __init__(self, log: AuditLog, caller: Caller, event: Event) -> None:
        self._log = log
        self._caller = caller
        self._event = event

    async def __aenter__(self) -> None:
        """Nothing: most work does not fail."""

    async def __aexit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if not isinstance(error, KmsServiceError):
            return
        if isinstance(error, DatabaseUnavailable | AuditUnavailable):
            return  # it could not be recorded, and nothing was released
        event = self._event
        await self._log.record(
            self._caller,
            replace(
                event,
                outcome=error.code,
                kms_request_id=error.kms_request_id or event.kms_request_id,
                detail=error.audit_detail or event.detail,
            ),
        )


def _link(chain: AuditChain, caller: Caller, event: Event) -> AuditRow:
    return chain.link(event, actor=caller.name, request_id=context.request_id.get())
