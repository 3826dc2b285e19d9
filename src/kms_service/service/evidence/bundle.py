"""Writes the evidence bundle: a zip archive whose member `verify.py` checks it without this service.

Events are written straight into the archive, so that memory does not grow with the log; only one line per
chain is kept until the end. docs/evidence.md says what the members mean.
"""

import base64
import hashlib
import json
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import resources
from typing import IO, Any

from kms_service.crypto.audit_chain import START
from kms_service.crypto.material import WrappedDek
from kms_service.service.audit.chains import CLOSED, Head, covered_fields
from kms_service.store.audit.rows import AuditChainRow
from kms_service.store.audit.trail import StoredRow

FORMAT = "kms-service-evidence/1"
MEMBERS = ("events.jsonl", "chains.jsonl", "heads.jsonl", "keys.json", "verify.py")
# Deflate's quickest level: half of each line is hashes, which no level can compress.
_LEVEL = 1
_NAMES = (
    "chain",
    "seq",
    "at",
    "actor",
    "action",
    "outcome",
    "userId",
    "walletAddress",
    "requestId",
    "kmsKeyId",
    "kmsRequestId",
    "detail",
)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """The public half of the key that signs bundles: its ARN, and SubjectPublicKeyInfo in DER."""

    key_arn: str
    der: bytes

    @property
    def fingerprint(self) -> str:
        """What an auditor pins: `SHA256:` and the SHA-256 of the DER in 64 hex digits."""
        return f"SHA256:{hashlib.sha256(self.der).hexdigest()}"

    @property
    def pem(self) -> bytes:
        """The key as a PEM file."""
        text = base64.b64encode(self.der).decode()
        lines = [text[start : start + 64] for start in range(0, len(text), 64)]
        return "\n".join(["-----BEGIN PUBLIC KEY-----", *lines, "-----END PUBLIC KEY-----", ""]).encode()


@dataclass(frozen=True, slots=True)
class Statement:
    """What the manifest says in addition to its list of members.

    Attributes:
        made_at: when the bundle was made, UTC, by this machine's clock.
        made_by: the actor who asked for it.
        since: the bundle holds events from this time on; None for all.
        until: the bundle holds events before this time.
        rows_verified: how many rows the service verified just before.
        findings: what it found wrong with them, one sentence each.
        heads_from: where the heads outside the database were read from; None if there are none.
        key: the key that signs the manifest; None if it is not signed.
    """

    made_at: datetime
    made_by: str
    version: str
    since: datetime | None
    until: datetime
    rows_verified: int
    findings: Sequence[str]
    heads_from: str | None
    key: SigningKey | None


@dataclass(slots=True)
class _Part:
    """A chain that is being written: the hash and the head of its events so far."""

    chain: AuditChainRow
    wrapped: WrappedDek
    before: Head
    last: int
    hash: bytes = bytes(32)
    mac: bytes = START
    closed: bool = False

    def take(self, stored: StoredRow) -> dict[str, Any]:
        """The event as a JSON object, linked to the one before it."""
        row, fields = stored.row, covered_fields(stored.row)
        self.hash = hash_link(self.hash, [*fields, str(stored.id), row.mac.hex()])
        self.last, self.mac, self.closed = row.seq, row.mac, row.event.action == CLOSED
        event: dict[str, Any] = dict(zip(_NAMES, fields, strict=True))
        return event | {"seq": row.seq, "id": stored.id, "mac": row.mac.hex(), "hash": self.hash.hex()}

    def facts(self, *, continues: bool) -> dict[str, Any]:
        """The chain's line in chains.jsonl."""
        return {
            "chain": str(self.chain.audit_chain_id),
            "number": self.chain.number,
            "openedAt": self.chain.opened_at.isoformat(timespec="microseconds"),
            "process": self.chain.process,
            "kmsKeyId": self.wrapped.key_arn,
            "kmsRegion": self.wrapped.region,
            "wrappedMacKey": base64.b64encode(self.wrapped.blob).decode(),
            "before": self.before.seq,
            "last": self.last,
            "startMac": self.before.mac.hex(),
            "endMac": self.mac.hex(),
            "hash": self.hash.hex(),
            "closed": self.closed,
            "continues": continues,
        }


class BundleWriter:
    """Writes one bundle into an open file, chain after chain, each event once.

    Args:
        file: open for writing bytes; it need not be seekable. The caller owns it.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._archive = zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL)
        self._members: dict[str, dict[str, Any]] = {}
        self._chains: list[dict[str, Any]] = []
        self._part: _Part | None = None
        self._events = 0
        self._stream = _Member(self._archive, "events.jsonl")

    def begin_chain(self, chain: AuditChainRow, wrapped: WrappedDek, before: Head) -> None:
        """Begin a chain: the events that are added next belong to it.

        Args:
            chain: its row in `audit_chains`.
            wrapped: its MAC key as it is wrapped now.
            before: the head before the first event to be added; place 0 and `START` if there is none.
        """
        self._part = _Part(chain, wrapped, before, before.seq, mac=before.mac)

    def add(self, stored: StoredRow) -> None:
        """Write the chain's next event."""
        if self._part is None:
            raise AssertionError
        self._stream.write_json(self._part.take(stored))
        self._events += 1

    def end_chain(self, *, continues: bool) -> None:
        """End the chain; `continues` says whether it has events that are too new for this bundle."""
        if self._part is None:
            raise AssertionError
        self._chains.append(self._part.facts(continues=continues))
        self._part = None

    def manifest(
        self, statement: Statement, heads: Mapping[str, Head], keys: Iterable[Mapping[str, Any]]
    ) -> bytes:
        """Write all members but the manifest; returns the manifest's bytes, to be signed as they are.

        Args:
            statement: what the manifest says in addition to its list of members.
            heads: the heads that were kept outside the database, by chain id.
            keys: the pool's keys, as `GET /kms/pool` shows them.
        """
        self._close(self._stream)
        self._write_lines("chains.jsonl", self._chains)
        self._write_lines(
            "heads.jsonl",
            [{"chain": chain, "seq": head.seq, "mac": head.mac.hex()} for chain, head in heads.items()],
        )
        self._write("keys.json", json.dumps({"keys": list(keys)}, indent=1).encode())
        self._write("verify.py", verifier())
        facts = _facts(statement) | {
            "events": self._events,
            "chains": len(self._chains),
            "members": self._members,
        }
        return json.dumps(facts, indent=1).encode()

    def finish(self, manifest: bytes, key: SigningKey | None, signature: bytes | None) -> None:
        """Write the manifest and its signature (ECDSA in DER), if there is one, and close the archive."""
        self._archive.writestr("manifest.json", manifest)
        if key is not None and signature is not None:
            self._archive.writestr("signing-key.pem", key.pem)
            self._archive.writestr("manifest.sig", signature)
        self._archive.close()

    def _write_lines(self, name: str, objects: Iterable[Mapping[str, Any]]) -> None:
        member = _Member(self._archive, name)
        for each in objects:
            member.write_json(each)
        self._close(member)

    def _write(self, name: str, data: bytes) -> None:
        member = _Member(self._archive, name)
        member.write(data)
        self._close(member)

    def _close(self, member: "_Member") -> None:
        self._members[member.name] = member.close()


class _Member:
    """A member that is being written, and the digest of what was written so far."""

    def __init__(self, archive: zipfile.ZipFile, name: str) -> None:
        self.name = name
        self._file = archive.open(name, "w", force_zip64=True)
        self._digest = hashlib.sha256()
        self._bytes = 0

    def write_json(self, value: Mapping[str, Any]) -> None:
        self.write(json.dumps(value, separators=(",", ":")).encode() + b"\n")

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self._digest.update(data)
        self._bytes += len(data)

    def close(self) -> dict[str, Any]:
        self._file.close()
        return {"bytes": self._bytes, "sha256": self._digest.hexdigest()}


def hash_link(previous: bytes, fields: Iterable[str | None]) -> bytes:
    """An event's hash: SHA-256 over the previous event's hash and the fields, encoded as for the MAC."""
    digest = hashlib.sha256(previous)
    for field in fields:
        data = None if field is None else field.encode()
        digest.update(b"\x00" if data is None else b"\x01" + len(data).to_bytes(4, "big") + data)
    return digest.digest()


def verifier() -> bytes:
    """The program that checks bundles, as it is put into each of them."""
    return resources.files("kms_service.service.evidence").joinpath("verify.py").read_bytes()


def _facts(statement: Statement) -> dict[str, Any]:
    key = statement.key
    return {
        "format": FORMAT,
        "madeAt": statement.made_at.isoformat(),
        "madeBy": statement.made_by,
        "version": statement.version,
        "since": None if statement.since is None else statement.since.isoformat(),
        "until": statement.until.isoformat(),
        "verification": {
            "rows": statement.rows_verified,
            "findings": list(statement.findings),
            "headsFrom": statement.heads_from,
        },
        "signature": None
        if key is None
        else {"algorithm": "ECDSA_SHA_256", "kmsKeyId": key.key_arn, "fingerprint": key.fingerprint},
    }
