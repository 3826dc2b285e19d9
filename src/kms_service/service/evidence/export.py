"""Exports evidence: verifies the log, writes and signs a bundle; and releases MAC keys, on record."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO, Any
from uuid import UUID

from kms_service import __version__
from kms_service.access.scopes import Caller
from kms_service.errors import IntegrityFailure
from kms_service.kms.control_plane.signing import KmsSigner
from kms_service.service.audit.chains import Head
from kms_service.service.audit.log import AuditLog, Event
from kms_service.service.audit.verify import AuditVerifier
from kms_service.service.evidence import verify as verifier
from kms_service.service.evidence.bundle import BundleWriter, SigningKey, Statement
from kms_service.service.evidence.rows import AuditChainReader, all_chains
from kms_service.store.audit.chain_keys import AuditChainKeyStore
from kms_service.store.audit.trail import AuditTrailStore


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an auditor asked for.

    Attributes:
        since: events from this time on; None for all.
        until: events before this time.
        heads: heads that were kept outside the database, by chain.
        heads_from: where those were read; None if there are none.
        keys: the pool's keys, as JSON objects.
        made_by: the actor who asks for it.
    """

    since: datetime | None
    until: datetime
    heads: Mapping[UUID, Head]
    heads_from: str | None
    keys: Sequence[Mapping[str, Any]]
    made_by: str


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written.

    Attributes:
        findings: what the verification found just before, one sentence each; they are in the manifest too.
        fingerprint: that of the signing key; None if the bundle is not signed.
        verifier_sha256: that of the `verify.py` in the bundle, for whoever wants to compare it.
    """

    events: int
    chains: int
    findings: Sequence[str]
    fingerprint: str | None
    verifier_sha256: str


class EvidenceExport:
    """Writes bundles, and releases MAC keys. Memory does not grow with the log."""

    def __init__(
        self,
        store: AuditTrailStore,
        chain_keys: AuditChainKeyStore,
        audit_verifier: AuditVerifier,
        audit: AuditLog,
        signer: KmsSigner | None,
    ) -> None:
        self._store = store
        self._chain_keys = chain_keys
        self._verifier = audit_verifier
        self._audit = audit
        self._signer = signer

    async def export(self, wanted: Wanted, file: IO[bytes], on_rows: Callable[[int], None]) -> Exported:
        """Verify the log, write a bundle into `file`, and sign its manifest if there is a key for that.

        Args:
            wanted: what goes into it.
            file: open for writing bytes.
            on_rows: called with the number of rows just read; each row is read twice.

        Raises:
            AdministrationFailed: KMS does not sign with the key.
            IntegrityFailure: the signature that KMS returned does not verify.
            KmsThrottled, KmsUnavailable, DatabaseUnavailable: not everything could be read.
        """
        # 1. The signing key, so that the log is not read for a bundle that cannot be signed.
        key = await self._key()
        # 2. Verify the log; what is found becomes part of what is signed.
        report = await self._verifier.verify(wanted.since, wanted.heads, on_rows)
        findings = [finding.says for finding in report.findings]
        # 3. Write the members.
        writer = BundleWriter(file)
        events, chains = await self._write(writer, wanted, on_rows)
        statement = Statement(
            made_at=datetime.now(UTC),
            made_by=wanted.made_by,
            version=__version__,
            since=wanted.since,
            until=wanted.until,
            rows_verified=report.rows,
            findings=findings,
            heads_from=wanted.heads_from,
            key=key,
        )
        heads = {str(chain): head for chain, head in wanted.heads.items()}
        manifest = writer.manifest(statement, heads, wanted.keys)
        # 4. Sign the manifest, which covers them all.
        signature = None if key is None else await self._signature(manifest, key)
        writer.finish(manifest, key, signature)
        digest = json.loads(manifest)["members"]["verify.py"]["sha256"]
        return Exported(events, chains, findings, None if key is None else key.fingerprint, digest)

    async def mac_keys(self, caller: Caller, reason: str) -> dict[str, str]:
        """The MAC keys of all chains by chain id, in hex, released on record. The caller owns the secrets.

        Whoever has them and can write to the database can forge rows of chains that are still open.

        Args:
            caller: who releases them.
            reason: to whom and why, for the record.

        Raises:
            AuditUnavailable: the release could not be put on record, so there is none.
            IntegrityFailure: a chain's wrapped key does not open.
            KmsThrottled, KmsKeyUnusable, KmsUnavailable, DatabaseUnavailable: not all are available.
        """
        await self._audit.record(caller, Event("audit.release_mac_keys", detail=reason))
        return {
            str(chain.audit_chain_id): (await self._verifier.key(chain)).reveal().hex()
            async for chain in all_chains(self._store)
        }

    async def _write(
        self, writer: BundleWriter, wanted: Wanted, on_rows: Callable[[int], None]
    ) -> tuple[int, int]:
        events = chains = 0
        async for chain in all_chains(self._store):
            chains += 1
            rows = AuditChainReader(self._store, chain, wanted.since, wanted.until)
            wrapped = await self._chain_keys.newest(chain.audit_chain_id) or chain.mac_key
            writer.begin_chain(chain, wrapped, await rows.skip())
            async for stored in rows.read(on_rows):
                writer.add(stored)
                events += 1
            writer.end_chain(continues=rows.continues)
        return events, chains

    async def _key(self) -> SigningKey | None:
        if self._signer is None:
            return None
        public = await self._signer.public_key()
        return SigningKey(public.key_arn, public.der)

    async def _signature(self, manifest: bytes, key: SigningKey) -> bytes:
        if self._signer is None:
            raise AssertionError
        signature = await self._signer.sign(hashlib.sha256(manifest).digest())
        _check(manifest, signature, key)
        return signature


def _check(manifest: bytes, signature: bytes, key: SigningKey) -> None:
    # KMS's reply is not trusted: a bundle that does not verify is worse than none.
    try:
        _, point = verifier.public_key(key.pem)
        genuine = verifier.is_signed(manifest, signature, point)
    except ValueError:
        genuine = False
    if not genuine:
        raise IntegrityFailure("the signature of the manifest")
