"""Holds the two sides of a reconciliation on disk, so that memory does not grow with them."""

import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from kms_service.service.evidence.cloudtrail import KmsCall

_TABLES = """
CREATE TABLE calls (
    event_id TEXT PRIMARY KEY, request_id TEXT, at REAL, operation TEXT, region TEXT, principal TEXT,
    session TEXT, access_key TEXT, source_ip TEXT, user_agent TEXT, key TEXT, destination TEXT, purpose TEXT,
    address TEXT, same_context INTEGER, error TEXT, key_name TEXT) WITHOUT ROWID;
CREATE TABLE told (
    request_id TEXT, id INTEGER, at REAL, actor TEXT, action TEXT, outcome TEXT, user_id TEXT, address TEXT,
    key TEXT, listed INTEGER);
CREATE TABLE lost (id INTEGER, at REAL, address TEXT, key TEXT);
"""
_INDEXES = """
CREATE INDEX told_request ON told (request_id);
CREATE INDEX lost_address ON lost (address, at);
CREATE INDEX calls_request ON calls (request_id);
CREATE INDEX calls_address ON calls (address, at);
"""


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """A KMS request that an audit row names.

    Attributes:
        id: `audit_events.id` of the row.
        listed: whether the row lists many requests of one run, and does not say what each was about.
    """

    request_id: str
    id: int
    at: datetime
    actor: str
    action: str
    outcome: str
    user_id: str | None
    wallet_address: str | None
    kms_key_id: str | None
    listed: bool


@dataclass(frozen=True, slots=True)
class LostAnswer:
    """An audit row of an opening that failed without an answer: KMS may or may not have decrypted."""

    id: int
    at: datetime
    wallet_address: str
    kms_key_id: str


@dataclass(frozen=True, slots=True)
class LedgerCall:
    """A call as the ledger holds it: `KmsCall` without what no rule needs."""

    event_id: str
    request_id: str
    at: datetime
    operation: str
    region: str
    principal: str
    session: str
    access_key: str
    source_ip: str
    user_agent: str
    key: str
    destination: str
    purpose: str
    wallet_address: str
    same_context: bool
    error: str | None


class Ledger:
    """A private database in a temporary file, deleted at the end of its `with`. For one thread at a time."""

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="kms-service-")
        self._db = sqlite3.connect(Path(self._folder.name) / "ledger", check_same_thread=False)
        # Nothing here needs to survive a crash.
        self._db.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;" + _TABLES)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()
        self._folder.cleanup()

    def add_calls(self, calls: Iterable[KmsCall]) -> int:
        """Add calls, each only once; returns how many were new."""
        before = self._db.total_changes
        self._db.executemany(
            f"INSERT OR IGNORE INTO calls VALUES ({_marks(17)})",  # noqa: S608 - question marks only
            (_call_values(call) for call in calls),
        )
        return self._db.total_changes - before

    def add_requests(self, requests: Iterable[RecordedRequest]) -> None:
        """Add requests that rows name."""
        values = (
            (
                each.request_id,
                each.id,
                each.at.timestamp(),
                each.actor,
                each.action,
                each.outcome,
                each.user_id,
                each.wallet_address,
                each.kms_key_id,
                each.listed,
            )
            for each in requests
        )
        self._db.executemany(f"INSERT INTO told VALUES ({_marks(10)})", values)  # noqa: S608

    def add_lost(self, answers: Iterable[LostAnswer]) -> None:
        """Add rows of openings whose answer never came."""
        values = (
            (each.id, each.at.timestamp(), each.wallet_address, key_name(each.kms_key_id)) for each in answers
        )
        self._db.executemany("INSERT INTO lost VALUES (?, ?, ?, ?)", values)

    def index(self) -> None:
        """Make the queries fast, once everything was added."""
        self._db.executescript(_INDEXES)

    def first_call(self) -> datetime | None:
        """The time of the oldest call, UTC; None if there is none."""
        (at,) = self._db.execute("SELECT min(at) FROM calls").fetchone()
        return None if at is None else datetime.fromtimestamp(at, UTC)

    def service_principals(self) -> set[str]:
        """Who made the calls that rows name: the service's own principals."""
        rows = self._db.execute("SELECT DISTINCT principal FROM calls JOIN told USING (request_id)")
        return {principal for (principal,) in rows}

    def pairs(self, since: datetime, until: datetime) -> Iterator[tuple[LedgerCall, RecordedRequest | None]]:
        """Every call of the window in order of time, with the first row that names it."""
        query = (
            f"SELECT calls.*, {_TOLD} FROM calls LEFT JOIN told USING (request_id) "  # noqa: S608 - names only
            "WHERE calls.at >= ? AND calls.at < ? ORDER BY calls.at, event_id, told.id"
        )
        last = ""
        for row in self._db.execute(query, (since.timestamp(), until.timestamp())):
            if row[0] != last:  # of several rows about one request, only the first counts
                last = row[0]
                yield _ledger_call(row[:16]), None if row[17] is None else _read_request(row[17:])

    def rows_without_call(self, since: datetime, until: datetime) -> Iterator[RecordedRequest]:
        """Rows of the window whose request is not in CloudTrail, in order of time."""
        query = (
            f"SELECT {_TOLD} FROM told LEFT JOIN calls USING (request_id) "  # noqa: S608 - names only
            "WHERE event_id IS NULL AND told.at >= ? AND told.at < ? ORDER BY told.at"
        )
        for row in self._db.execute(query, (since.timestamp(), until.timestamp())):
            yield _read_request(row)

    def rows_of_same_request(self) -> Iterator[RecordedRequest]:
        """Rows that name a request which an earlier row names too."""
        query = (
            f"SELECT {_TOLD} FROM told WHERE listed = 0 AND action <> 'audit.open' AND EXISTS (SELECT 1 "  # noqa: S608
            "FROM told AS other WHERE other.request_id = told.request_id AND other.id < told.id) ORDER BY id"
        )
        for row in self._db.execute(query):
            yield _read_request(row)

    def find_later_answers(self, call: LedgerCall, within: float, beside: float) -> Iterator[tuple[str, str]]:
        """The same client's calls about the same wallet and key that have a row, and may explain `call`.

        Those in the same Region came later. Those in another Region came later, or shortly before if both
        were asked at once; there credentials may differ, and session or address may, but not both of them.

        Args:
            call: a call that no row names.
            within: how many seconds later they came at most.
            beside: how many seconds earlier they came at most, in another Region.

        Returns:
            The event id and Region of each.
        """
        start = call.at.timestamp()
        values = {
            "address": call.wallet_address,
            "start": start,
            "end": start + within,
            "before": start - beside,
            "key": key_name(call.key),
            "event": call.event_id,
            "operation": call.operation,
            "region": call.region,
            "access_key": call.access_key,
            "source_ip": call.source_ip,
            "principal": call.principal,
            "session": call.session,
        }
        yield from self._db.execute(_ANSWERED, values)

    def find_later_losses(self, call: LedgerCall, within: float) -> Iterator[str]:
        """Ids of later rows about openings of the same wallet whose answer never came."""
        query = "SELECT id FROM lost WHERE address = ? AND at BETWEEN ? AND ? AND key = ? ORDER BY at"
        start = call.at.timestamp()
        found = self._db.execute(query, (call.wallet_address, start - 1, start + within, key_name(call.key)))
        yield from (f"lost {each}" for (each,) in found)


_TOLD = (
    "told.request_id, told.id, told.at, told.actor, told.action, told.outcome, told.user_id, told.address, "
    "told.key, told.listed"
)


_ANSWERED = """
SELECT event_id, region FROM calls JOIN told USING (request_id)
WHERE calls.address = :address AND calls.at BETWEEN :before AND :end AND key_name = :key
AND calls.event_id <> :event AND calls.operation = :operation AND (
    (region = :region AND calls.at >= :start AND access_key = :access_key AND source_ip = :source_ip)
    OR (region <> :region AND principal = :principal AND (session = :session OR source_ip = :source_ip)))
ORDER BY calls.at
"""


def key_name(key: str) -> str:
    """A name for a key that is the same in every Region: the id of a multi-Region key, else the ARN."""
    key_id = key.rpartition("/")[2]
    return key_id if key_id.startswith("mrk-") else key


def _marks(count: int) -> str:
    return ", ".join("?" * count)


def _call_values(call: KmsCall) -> tuple[object, ...]:
    context: Mapping[str, str] = call.contexts[0] if call.contexts else {}
    return (
        call.event_id,
        call.request_id,
        call.at.timestamp(),
        call.operation,
        call.region,
        call.principal,
        call.session,
        call.access_key,
        call.source_ip,
        call.user_agent,
        call.keys[0],
        call.keys[-1] if len(call.keys) > 1 else "",
        str(context.get("purpose") or ""),
        str(context.get("wallet_address") or ""),
        all(each == context for each in call.contexts),
        call.error,
        key_name(call.keys[0]),
    )


def _ledger_call(row: tuple[object, ...]) -> LedgerCall:
    values = list(row)
    values[2] = datetime.fromtimestamp(float(str(row[2])), UTC)
    values[14] = bool(row[14])
    return LedgerCall(*values)  # type: ignore[arg-type] # as _call_values wrote them


def _read_request(row: tuple[object, ...]) -> RecordedRequest:
    values = list(row)
    values[2] = datetime.fromtimestamp(float(str(row[2])), UTC)
    values[9] = bool(row[9])
    return RecordedRequest(*values)  # type: ignore[arg-type] # as add_requests wrote them
