"""Verifies the whole audit log: every chain, every gap between chains, every row without a chain."""

import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from kms_service.crypto.material import DataKey
from kms_service.errors import IntegrityFailure, KmsKeyUnusable
from kms_service.kms.aws import AwsKmsService
from kms_service.service.audit.chains import CONTEXT, Head
from kms_service.service.audit.walk import AuditChainWalk, Finding, Tampering
from kms_service.store.audit.chain_keys import AuditChainKeyStore
from kms_service.store.audit.rows import AuditChainRow
from kms_service.store.audit.trail import AuditTrailStore

_PAGE_CHAINS = 200
_KEYS_KEPT = 256
FINDINGS_KEPT = 1000


@dataclass(slots=True)
class AuditReport:
    """What a verification has seen.

    Attributes:
        unclosed: chains without a closing row: their process still runs or died, or their end was cut off.
        found: how many findings there are: the first thing wrong with each chain, and each missing chain.
        findings: the first thousand of them.
    """

    chains: int = 0
    rows: int = 0
    unclosed: int = 0
    found: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def intact(self) -> bool:
        """Whether nothing was found."""
        return not self.found

    def add(self, finding: Finding) -> None:
        """Count a finding, and keep it while there is room."""
        self.found += 1
        if len(self.findings) < FINDINGS_KEPT:
            self.findings.append(finding)


class AuditVerifier:
    """Verifies the audit log in the database, with the MAC keys that KMS unwraps.

    Memory does not grow with the log. It costs one kms:Decrypt for each process that ever wrote.
    """

    def __init__(self, store: AuditTrailStore, chain_keys: AuditChainKeyStore, kms: AwsKmsService) -> None:
        self._store = store
        self._chain_keys = chain_keys
        self._kms = kms
        self._keys: dict[bytes, DataKey] = {}

    async def expected_rows(self) -> int:
        """About how many rows a verification of the whole log reads."""
        return await self._store.highest_id()

    async def verify(
        self, since: datetime | None, heads: Mapping[uuid.UUID, Head], on_rows: Callable[[int], None]
    ) -> AuditReport:
        """Verify every chain.

        Args:
            since: check only rows from this time on; None for all. Changes to older rows are not found.
            heads: the newest known head of each chain, from outside the database; the table must agree.
            on_rows: called with the number of rows just read.

        Raises:
            KmsThrottled, KmsUnavailable, DatabaseUnavailable: not everything could be checked.
        """
        report = AuditReport()

        def count(rows: int) -> None:
            report.rows += rows
            on_rows(rows)

        async for finding in self._findings(report, since, heads, count):
            report.add(finding)
        return report

    async def _findings(
        self,
        report: AuditReport,
        since: datetime | None,
        heads: Mapping[uuid.UUID, Head],
        on_rows: Callable[[int], None],
    ) -> AsyncIterator[Finding]:
        async for chain in self._chains():
            if isinstance(chain, Finding):
                yield chain
                continue
            report.chains += 1
            finding = await self._walk(report, chain, since, heads.get(chain.audit_chain_id), on_rows)
            if finding is not None:
                yield finding
        async for missing in self._emptied_log(report):
            yield missing
        async for missing in self._chains_only_in_log(heads):
            yield missing

    async def _walk(
        self,
        report: AuditReport,
        chain: AuditChainRow,
        since: datetime | None,
        logged: Head | None,
        on_rows: Callable[[int], None],
    ) -> Finding | None:
        try:
            key = await self.key(chain)
        except IntegrityFailure:
            return _finding_about(
                chain, Tampering.CHAIN_CHANGED, "does not open: its row in audit_chains was changed"
            )
        except KmsKeyUnusable as error:
            return _finding_about(
                chain, Tampering.CHAIN_UNCHECKED, f"cannot be checked: KMS says {error.reason}"
            )
        walk = AuditChainWalk(self._store, chain, key, on_rows)
        finding = await walk.run(since, logged)
        report.unclosed += not walk.closed
        return finding

    async def _chains(self) -> AsyncIterator[AuditChainRow | Finding]:
        number = 0
        # Read before the chains, so that one that is opened meanwhile does not seem to be missing.
        given = await self._store.last_number()
        while page := await self._store.chains(after=number, limit=_PAGE_CHAINS):
            for chain in page:
                if chain.number is not None and chain.number > number + 1:
                    yield _gap(number + 1, chain.number - 1)
                number = chain.number or number
                yield chain
        if given is None:
            says = "audit_chain_numbers was emptied, so a chain that was removed may not be missed"
            yield Finding(Tampering.CHAIN_REMOVED, None, None, None, None, says)
        elif given > number:
            yield _removed_chains(number + 1, given)
        async for found in self._unnumbered_chains():
            yield found

    async def _unnumbered_chains(self) -> AsyncIterator[AuditChainRow | Finding]:
        audit_chain_id = await self._store.chain_with_rows(after=None)
        while audit_chain_id is not None:
            chain = await self._store.chain(audit_chain_id)
            if chain is None:
                yield _missing_chain(audit_chain_id, None)
            elif chain.number is None or chain.number < 1:
                yield chain
            audit_chain_id = await self._store.chain_with_rows(after=audit_chain_id)

    async def _emptied_log(self, report: AuditReport) -> AsyncIterator[Finding]:
        # A token is recorded before anybody can use it.
        if report.chains == 0 and report.intact and await self._store.tokens_exist():
            says = "the audit log is empty although tokens exist"
            yield Finding(Tampering.CHAIN_REMOVED, None, None, None, None, says)

    async def _chains_only_in_log(self, heads: Mapping[uuid.UUID, Head]) -> AsyncIterator[Finding]:
        for audit_chain_id in heads:
            if await self._store.chain(audit_chain_id) is None:
                says = f"chain {audit_chain_id} was removed: heads outside the database prove it"
                yield Finding(Tampering.CHAIN_REMOVED, audit_chain_id, None, None, None, says)

    async def key(self, chain: AuditChainRow) -> DataKey:
        """The MAC key of a chain, unwrapped. The caller owns the secret.

        Raises:
            IntegrityFailure: it does not open: the chain's row was changed.
            KmsThrottled, KmsKeyUnusable, KmsUnavailable, DatabaseUnavailable: the key is unavailable.
        """
        wrapped = await self._chain_keys.newest(chain.audit_chain_id) or chain.mac_key
        if wrapped.blob not in self._keys:
            if len(self._keys) >= _KEYS_KEPT:
                self._keys.clear()
            self._keys[wrapped.blob] = (await self._kms.decrypt(wrapped, CONTEXT)).dek
        return self._keys[wrapped.blob]


def _missing_chain(audit_chain_id: uuid.UUID | None, number: int | None) -> Finding:
    name = f"chain {number}" if number else f"the chain of rows with chain_id {audit_chain_id}"
    return Finding(
        Tampering.CHAIN_REMOVED, audit_chain_id, number, None, None, f"{name} was removed from audit_chains"
    )


def _gap(first: int, last: int) -> Finding:
    # One finding, however many numbers: a planted chain with a huge number must not cause an endless loop.
    if first == last:
        return _missing_chain(None, first)
    says = f"chains {first} to {last} were removed from audit_chains, or chain {last + 1} was inserted"
    return Finding(Tampering.CHAIN_REMOVED, None, first, None, None, says)


def _removed_chains(first: int, last: int) -> Finding:
    what = f"chain {first} was" if first == last else f"chains {first} to {last} were"
    says = f"{what} removed from audit_chains: the database gave the number out"
    return Finding(Tampering.CHAIN_REMOVED, None, first, None, None, says)


def _finding_about(chain: AuditChainRow, kind: Tampering, says: str) -> Finding:
    return Finding(kind, chain.audit_chain_id, chain.number, None, None, f"chain {chain.number} {says}")
