"""Bundles of rows that are in no database, and the verifier run on them."""

import io
import json
import subprocess
import sys
import uuid
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from kms_service.crypto import audit_chain
from kms_service.crypto.material import DataKey, WrappedDek
from kms_service.service.audit.chains import Head, covered_fields
from kms_service.service.evidence import verify as verifier
from kms_service.service.evidence.bundle import BundleWriter, SigningKey, Statement
from kms_service.store.audit.events import AuditRow, Event
from kms_service.store.audit.rows import AuditChainRow
from kms_service.store.audit.trail import StoredRow

KEY_ARN = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
START = datetime(2026, 11, 1, tzinfo=UTC)
UNTIL = datetime(2026, 12, 1, tzinfo=UTC)


@dataclass(frozen=True)
class MadeChain:
    """A chain with its rows and its MAC key."""

    chain: AuditChainRow
    key: DataKey
    rows: Sequence[StoredRow]

    @property
    def id(self) -> str:
        return str(self.chain.audit_chain_id)

    def head(self, seq: int) -> Head:
        return Head(seq, self.rows[seq - 1].row.mac)


def make_chain(number: int, rows: int) -> MadeChain:
    """A chain of so many rows, one a second."""
    chain = AuditChainRow(
        uuid.uuid5(uuid.NAMESPACE_OID, str(number)),
        number,
        START,
        "host:1",
        WrappedDek(KEY_ARN, "eu-central-1", bytes([number]) * 184),
    )
    key = DataKey(bytes([number]) * 32)
    made, mac = [], audit_chain.START
    for seq in range(1, rows + 1):
        row = AuditRow(
            audit_chain_id=chain.audit_chain_id,
            seq=seq,
            at=START + timedelta(seconds=seq),
            actor="checkout",
            request_id="",
            event=Event(
                action="audit.open" if seq == 1 else "private_key.read",
                user_id=None if seq == 1 else f"user-{seq}",
                kms_key_id=KEY_ARN,
                kms_request_id=str(uuid.uuid5(chain.audit_chain_id, str(seq))),
                detail="dëtail" if seq % 2 else None,
            ),
            mac=b"",
        )
        mac = audit_chain.link(key, mac, covered_fields(row))
        made.append(StoredRow(number * 1000 + seq, replace(row, mac=mac)))
    return MadeChain(chain, key, made)


@dataclass(frozen=True)
class Signer:
    """A key of P-256, as KMS has one."""

    private: ec.EllipticCurvePrivateKey

    @property
    def key(self) -> SigningKey:
        public = self.private.public_key()
        der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        return SigningKey(KEY_ARN, der)

    def sign(self, message: bytes) -> bytes:
        return self.private.sign(message, ec.ECDSA(hashes.SHA256()))


def new_signer() -> Signer:
    return Signer(ec.generate_private_key(ec.SECP256R1()))


def write_bundle(
    folder: Path,
    chains: Sequence[MadeChain],
    *,
    signer: Signer | None = None,
    heads: Mapping[str, Head] | None = None,
    findings: Sequence[str] = (),
    first: int = 1,
    continues: bool = False,
) -> Path:
    """Write a bundle and unpack it into `folder`."""
    key = None if signer is None else signer.key
    archive = folder.with_suffix(".zip")
    with archive.open("wb") as file:
        writer = BundleWriter(file)
        for each in chains:
            before = Head(0, audit_chain.START) if first == 1 else each.head(first - 1)
            writer.begin_chain(each.chain, each.chain.mac_key, before)
            for stored in each.rows[first - 1 :]:
                writer.add(stored)
            writer.end_chain(continues=continues)
        statement = Statement(
            made_at=UNTIL,
            made_by="cli:auditor",
            version="1",
            since=None,
            until=UNTIL,
            rows_verified=1,
            findings=findings,
            heads_from=None,
            key=key,
        )
        manifest = writer.manifest(statement, heads or {}, [{"alias": "alias/key-1"}])
        writer.finish(manifest, key, None if signer is None else signer.sign(manifest))
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(folder)
    return folder


def write_mac_keys(folder: Path, chains: Sequence[MadeChain]) -> Path:
    """The file of MAC keys as an auditor gets it, beside the bundle's folder."""
    path = folder.with_suffix(".keys.json")
    path.write_text(json.dumps({"keys": {each.id: each.key.reveal().hex() for each in chains}}))
    return path


def verify(folder: Path, *options: str | Path) -> tuple[int, str]:
    """The exit code and the output of the bundle's verifier, run in this process."""
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(printed):
        patch.setattr(verifier, "__file__", str(folder / "verify.py"))
        patch.setattr(sys, "argv", ["verify.py", *map(str, options)])
        with pytest.raises(SystemExit) as ended:
            verifier.main()
    assert isinstance(ended.value.code, int)
    return ended.value.code, printed.getvalue()


def verify_as_a_stranger(folder: Path, *options: str | Path) -> tuple[int, str]:
    """The exit code and the output of `python3 verify.py` beside the members, without anything of ours."""
    done = subprocess.run(  # noqa: S603 - this interpreter, the bundle's own program
        [sys.executable, "-I", folder / "verify.py", *options],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd="/",
    )
    assert done.stderr == ""
    return done.returncode, done.stdout
