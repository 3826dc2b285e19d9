"""Reconciles the stored log with CloudTrail: verifies the log, reads both into a ledger, and judges."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from kms_service.errors import InvalidRequest
from kms_service.service.audit.chains import Head
from kms_service.service.audit.verify import AuditReport, AuditVerifier
from kms_service.service.evidence.cloudtrail import files_in, read_calls
from kms_service.service.evidence.ledger import Ledger, LostAnswer, RecordedRequest
from kms_service.service.evidence.reconcile import Reconciliation, Window, reconcile
from kms_service.service.evidence.recorded_requests import requests_in
from kms_service.service.evidence.rows import AuditChainReader, all_chains
from kms_service.store.audit.trail import AuditTrailStore, StoredRow

# How far before the window rows are read: a row about one of its calls may have an earlier time.
_ROWS_BEFORE = timedelta(hours=1)
_AT_ONCE = 1000
_END = datetime(9999, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Compared:
    """What to compare, and which principals are ours.

    Attributes:
        files: CloudTrail's files, or folders of them.
        since: calls from this time on; None for the time of the first call in the files.
        until: calls before this time; None for all.
        delivery: how long CloudTrail may take; rows younger than that need not be in it yet.
        principals: patterns for the ARNs of the service's roles; if empty, those whose calls our rows name.
        administrators: patterns for the ARNs of those who may change key policies and grants.
        keys: ARNs of keys that are or were ours, in addition to those that the rows name.
        heads: heads that were kept outside the database, by chain.
    """

    files: Sequence[Path]
    since: datetime | None
    until: datetime | None
    delivery: timedelta
    principals: Collection[str]
    administrators: Collection[str]
    keys: Collection[str]
    heads: Mapping[UUID, Head]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The results of verifying the log and of the reconciliation.

    Attributes:
        files: how many files were read.
        recorded: how many calls to KMS they hold, by anybody, each counted once.
    """

    verification: AuditReport
    reconciliation: Reconciliation
    files: int
    recorded: int

    @property
    def explained(self) -> bool:
        """Whether the log is as it was written, and leaves nothing unexplained."""
        return self.verification.intact and not self.reconciliation.found


class CloudTrailReconciler:
    """Compares the log with CloudTrail, in a temporary file, so that memory does not grow with them."""

    def __init__(self, store: AuditTrailStore, verifier: AuditVerifier) -> None:
        self._store = store
        self._verifier = verifier

    async def reconcile(self, compared: Compared, on_done: Callable[[int], None]) -> Outcome:
        """Judge every call and every row.

        Args:
            compared: what to compare, and how.
            on_done: called with the number of calls or rows just handled.

        Raises:
            InvalidRequest: a file is damaged, or the files hold no call and `since` is None.
            KmsThrottled, KmsUnavailable, DatabaseUnavailable: not everything could be checked.
        """
        with Ledger() as ledger:
            # 1. Read CloudTrail's side.
            files = files_in(compared.files)
            recorded = 0
            for file in files:
                added = await asyncio.to_thread(ledger.add_calls, read_calls(file))
                recorded += added
                on_done(added)
            since = compared.since or ledger.first_call()
            if since is None:
                raise InvalidRequest(
                    "tells of no call to KMS; say --since if there should be none", "cloudtrail"
                )
            # 2. Read ours, as far as it is as it was written: nothing else explains a call.
            begin = since - _ROWS_BEFORE
            report = await self._verifier.verify(begin, compared.heads, on_done)
            keys = await self._read_rows(ledger, begin, _breaks_in(report), on_done)
            # 3. Judge every call and every row.
            await asyncio.to_thread(ledger.index)
            until = compared.until or _END
            window = Window(since, until, min(until, datetime.now(UTC) - compared.delivery))
            done = await asyncio.to_thread(
                reconcile,
                ledger,
                window,
                keys=keys | set(compared.keys),
                principals=compared.principals,
                administrators=compared.administrators,
                on_call=lambda: on_done(1),
            )
        return Outcome(report, done, len(files), recorded)

    async def _read_rows(
        self,
        ledger: Ledger,
        since: datetime,
        broken: Callable[[UUID], int | None],
        on_done: Callable[[int], None],
    ) -> set[str]:
        """Put the requests that rows name into the ledger; returns the keys that they name."""
        keys, waiting = set(), _Waiting(ledger)
        async for chain in all_chains(self._store):
            keys.add(chain.mac_key.key_arn)
            rows = AuditChainReader(self._store, chain, since, _END)
            end = broken(chain.audit_chain_id)
            await rows.skip()
            async for stored in rows.read(on_done):
                if end is not None and stored.row.seq >= end:
                    break  # a row that is not as it was written explains nothing
                if stored.row.event.kms_key_id is not None:
                    keys.add(stored.row.event.kms_key_id)
                waiting.add(stored)
        waiting.flush()
        return keys


class _Waiting:
    """Rows on their way into the ledger, a thousand at a time."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._told: list[RecordedRequest] = []
        self._lost: list[LostAnswer] = []

    def add(self, stored: StoredRow) -> None:
        for each in requests_in(stored):
            if isinstance(each, RecordedRequest):
                self._told.append(each)
            else:
                self._lost.append(each)
        if len(self._told) + len(self._lost) >= _AT_ONCE:
            self.flush()

    def flush(self) -> None:
        self._ledger.add_requests(self._told)
        self._ledger.add_lost(self._lost)
        self._told, self._lost = [], []


def _breaks_in(report: AuditReport) -> Callable[[UUID], int | None]:
    """A function that gives a chain's first place that is not as it was written; 0 for the whole chain."""
    if report.found > len(report.findings):
        return lambda _: 0  # not all findings were kept, so no chain is trusted
    return {
        each.audit_chain_id: each.seq or 0 for each in report.findings if each.audit_chain_id is not None
    }.get
