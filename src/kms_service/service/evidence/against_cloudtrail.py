"""Reconciling the stored log with CloudTrail: the log verified, both sides read into a ledger, judged."""

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
from kms_service.service.evidence.ledger import Ledger, LostAnswer, ToldRequest
from kms_service.service.evidence.reconcile import Reconciliation, Window, reconcile
from kms_service.service.evidence.rows import AuditChainReader, all_chains
from kms_service.service.evidence.told import told_by
from kms_service.store.audit.trail import AuditTrailStore, StoredRow

# A row is written after its call, and may be written so much before the end of a long request.
_ROWS_BEFORE = timedelta(hours=1)
_AT_ONCE = 1000
_END = datetime(9999, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Compared:
    """What to compare, and who is who.

    Attributes:
        files: CloudTrail's files, or folders of them.
        since: calls from this time on; None for the first one that the files tell of.
        until: calls before this time; None for all.
        delivery: how long CloudTrail may take: younger rows are not missed in it.
        principals: patterns of the ARNs of the service's roles; empty for those whose calls the rows tell of.
        administrators: patterns of the ARNs of who may change key policies and grants.
        keys: ARNs of keys that are or were ours, beside those that the rows name.
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
    """The verification of the log, and what the reconciliation came to.

    Attributes:
        files: how many files were read.
        recorded: calls to KMS in them, of anybody, each counted once.
    """

    verification: AuditReport
    reconciliation: Reconciliation
    files: int
    recorded: int

    @property
    def explained(self) -> bool:
        """Whether nothing is left to explain, by a log that is as it was written."""
        return self.verification.intact and not self.reconciliation.found


class CloudTrailReconciler:
    """Compares the log with CloudTrail. Both lie in a temporary file: memory does not grow with them."""

    def __init__(self, store: AuditTrailStore, verifier: AuditVerifier) -> None:
        self._store = store
        self._verifier = verifier

    async def reconcile(self, compared: Compared, on_done: Callable[[int], None]) -> Outcome:
        """Judge every call and every row.

        Args:
            compared: what and how.
            on_done: told how many calls or rows were gone through just now.

        Raises:
            InvalidRequest: a file is damaged, or the files tell of no call and no time was told.
            KmsThrottled, KmsUnavailable, DatabaseUnavailable: not everything could be looked at.
        """
        with Ledger() as ledger:
            # 1. CloudTrail's side.
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
            # 2. Ours, as far as it is as it was written.
            begin = since - _ROWS_BEFORE
            report = await self._verifier.verify(begin, compared.heads, on_done)
            keys = await self._read_rows(ledger, begin, _broken(report), on_done)
            # 3. Judged.
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
        """Put what rows tell of into the ledger; the keys that they name."""
        keys, waiting = set(), _Waiting(ledger)
        async for chain in all_chains(self._store):
            keys.add(chain.mac_key.key_arn)
            rows = AuditChainReader(self._store, chain, since, _END)
            end = broken(chain.audit_chain_id)
            await rows.skip()
            async for stored in rows.read(on_done):
                if end is not None and stored.row.seq >= end:
                    break  # what is not as it was written explains nothing
                if stored.row.event.kms_key_id is not None:
                    keys.add(stored.row.event.kms_key_id)
                waiting.add(stored)
        waiting.flush()
        return keys


class _Waiting:
    """Rows on their way into the ledger, a thousand at once."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._told: list[ToldRequest] = []
        self._lost: list[LostAnswer] = []

    def add(self, stored: StoredRow) -> None:
        for each in told_by(stored):
            if isinstance(each, ToldRequest):
                self._told.append(each)
            else:
                self._lost.append(each)
        if len(self._told) + len(self._lost) >= _AT_ONCE:
            self.flush()

    def flush(self) -> None:
        self._ledger.add_told(self._told)
        self._ledger.add_lost(self._lost)
        self._told, self._lost = [], []


def _broken(report: AuditReport) -> Callable[[UUID], int | None]:
    """Answers the first place of a chain that is not as it was written; 0 where that is the whole chain."""
    if report.found > len(report.findings):
        return lambda _: 0  # not all are known, so none is believed
    return {
        each.audit_chain_id: each.seq or 0 for each in report.findings if each.audit_chain_id is not None
    }.get
