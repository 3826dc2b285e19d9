"""The audit log: a row, chained and committed, before anything secret leaves (invariant 3).

A process owns one random MAC key, wrapped by KMS so that the database's owner cannot forge a row, and a few
chains. A chain is borrowed for one insert at a time, like a connection, so that writers do not wait.
"""

import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta

from kms_service import audit_chain, envelope
from kms_service.errors import AuditUnavailable, DatabaseUnavailable, KmsServiceError
from kms_service.kms.pool import KmsKeyPool
from kms_service.material import DataKey, WrappedDek
from kms_service.store.audit import AuditRow, AuditStore
from kms_service.store.wallets import SealedWallet
from kms_service.telemetry import context, metrics
from kms_service.telemetry.logs import get_logger

CONTEXT = {"purpose": "audit-chain"}
OK = "ok"

log = get_logger()


@dataclass(frozen=True, slots=True)
class Event:
    """What happened, without who, when and where, which the log knows itself.

    Attributes:
        action: a static name such as `private_key.read`.
        outcome: `ok`, or the error code that the caller was answered.
        detail: more that an auditor needs, such as the digest of what was signed; never a secret.
    """

    action: str
    outcome: str = OK
    user_id: str | None = None
    wallet_address: str | None = None
    kms_key_id: str | None = None
    kms_request_id: str | None = None
    detail: str | None = None


@dataclass(slots=True)
class _Chain:
    """A chain's head: what the next row is linked to, and the database's clock as last seen."""

    chain_id: uuid.UUID
    seq: int
    mac: bytes
    clock: "_Clock"


@dataclass(frozen=True, slots=True)
class _Clock:
    """The database's time, carried on by the monotonic clock until the next insert tells it again."""

    at: datetime
    seen: float

    def now(self) -> datetime:
        return self.at + timedelta(seconds=time.monotonic() - self.seen)


class AuditLog:
    """Writes the audit rows of one process. Safe to use from several threads."""

    def __init__(self, store: AuditStore, pool: KmsKeyPool) -> None:
        self._store = store
        self._pool = pool
        self._idle: list[_Chain] = []
        self._lock = threading.Lock()
        self._key: tuple[DataKey, WrappedDek] | None = None

    def record(self, event: Event) -> None:
        """Commit one row.

        Raises:
            AuditUnavailable: the row may not be there, so whatever it is about must not leave.
        """
        try:
            with self._borrowed() as chain:
                _advance(chain, row := self._linked(chain, event), self._store.append(row))
        except KmsServiceError as error:
            metrics.audit_failures.inc()
            raise AuditUnavailable from error

    def record_creation(self, event: Event, wallet: SealedWallet) -> datetime | None:
        """Commit a wallet and its audit row together.

        Returns:
            The wallet's creation time; None when the user already had one, and then nothing was written.

        Raises:
            DatabaseUnavailable: whether both rows are there or neither is unknown.
            AuditUnavailable: no chain could be opened; nothing was written.
        """
        with self._borrowed() as chain:
            row = self._linked(chain, event)
            written = self._store.append_with_wallet(row, wallet)
            if written is None:
                return None
            created_at, now = written
            _advance(chain, row, now)
            return created_at

    @contextmanager
    def refusals(self, event: Event) -> Iterator[None]:
        """Record `event` with the error's code when the work inside fails, then let the error go on.

        Raises:
            AuditUnavailable: the refusal could not be recorded.
        """
        try:
            yield
        except (DatabaseUnavailable, AuditUnavailable):
            raise  # there is nowhere to record it, and nothing was released
        except KmsServiceError as error:
            self.record(
                replace(
                    event, outcome=error.code, kms_request_id=error.kms_request_id or event.kms_request_id
                )
            )
            raise

    @contextmanager
    def _borrowed(self) -> Iterator[_Chain]:
        with self._lock:
            chain = self._idle.pop() if self._idle else None
        chain = chain or self._open_chain()
        # After an error the head in the database is unknown, so the chain is not returned but left to end.
        yield chain
        with self._lock:
            self._idle.append(chain)

    def _open_chain(self) -> _Chain:
        key = self._mac_key()
        chain_id = uuid.uuid4()
        process = f"{socket.gethostname()[:150]}:{os.getpid()}"
        try:
            at = self._store.open_chain(chain_id, process, key[1])
        except DatabaseUnavailable as error:
            raise AuditUnavailable from error
        log.info("audit_chain_opened", chain=str(chain_id), key=key[1].key_arn)
        return _Chain(chain_id, 0, audit_chain.START, _Clock(at, time.monotonic()))

    def _mac_key(self) -> tuple[DataKey, WrappedDek]:
        with self._lock:
            if self._key is None:
                key = envelope.new_data_key()
                try:
                    self._key = (key, self._pool.wrap(key, CONTEXT).dek)
                except KmsServiceError as error:
                    raise AuditUnavailable from error
            return self._key

    def _linked(self, chain: _Chain, event: Event) -> AuditRow:
        row = AuditRow(
            chain_id=chain.chain_id,
            seq=chain.seq + 1,
            at=chain.clock.now(),
            actor=context.actor.get() or "unknown",
            action=event.action,
            outcome=event.outcome,
            user_id=event.user_id,
            wallet_address=event.wallet_address,
            request_id=context.request_id.get(),
            kms_key_id=event.kms_key_id,
            kms_request_id=event.kms_request_id,
            detail=event.detail,
            mac=b"",
        )
        return replace(row, mac=audit_chain.link(self._mac_key()[0], chain.mac, covered(row)))


def covered(row: AuditRow) -> list[str | None]:
    """The fields of a row that its MAC covers, as text in a fixed order: all but the MAC."""
    return [_text(getattr(row, field.name)) for field in fields(row) if field.name != "mac"]


def _text(value: object) -> str | None:
    if isinstance(value, datetime):
        return value.isoformat(timespec="microseconds")
    return None if value is None else str(value)


def _advance(chain: _Chain, row: AuditRow, now: datetime) -> None:
    chain.seq, chain.mac = row.seq, row.mac
    chain.clock = _Clock(now, time.monotonic())
    metrics.audit_rows.labels(row.action, row.outcome).inc()
