"""Adopting the ported service's wallets: how fast it is, and whether memory depends on their number."""

import json
import multiprocessing
import os
import resource
import time
import uuid
from base64 import b64encode
from typing import Any

import psycopg
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from benchmarks.filling import fill
from benchmarks.keys import make_account, nth
from benchmarks.resources import Watch
from benchmarks.rig import KEYS, Installation, Rig
from benchmarks.suite import Tell
from kms_service import ethereum

STEPS = 4
_CHUNK = 1000
_MIB = 2**20
_TABLE = """
    CREATE SCHEMA theirs;
    CREATE TABLE theirs.wallets (
        user_id text COLLATE "C" PRIMARY KEY, wallet_address text NOT NULL UNIQUE,
        compressed_public_key text NOT NULL UNIQUE, encrypted_seed text NOT NULL, encrypted_dek text NOT NULL,
        kms_key_id text, created_at timestamp(3) without time zone NOT NULL DEFAULT now()
    )
"""
_COPY = (
    "COPY theirs.wallets (user_id, wallet_address, compressed_public_key, encrypted_seed, encrypted_dek, "
    "kms_key_id) FROM STDIN"
)

Chunk = tuple[str, int]


def adoption(machine: Rig, wallets: int, here: int, tell: Tell) -> dict[str, Any]:
    """Adopt `wallets`, then pass over `here` that were adopted before; what each run took."""
    installation = machine.installation("adoption")
    installation.query(_TABLE)
    tell(f"making {wallets:,} wallets of the ported service")
    _make(installation.database_url, wallets)
    tell("adopting them")
    adopted = _adopt(installation)
    tell(f"filling {here:,} wallets, here and there")
    fill(installation.database_url, KEYS, here, opens_every=here)
    installation.query(
        "INSERT INTO theirs.wallets SELECT user_id, wallet_address, compressed_public_key, '-', '-', "
        "kms_key_id FROM wallets ON CONFLICT DO NOTHING"
    )
    tell("passing over them")
    return {"wallets": wallets, "here": here, "adopted": adopted, "passed_over": _adopt(installation)}


def _adopt(installation: Installation) -> dict[str, Any]:
    words = ("adopt", "--from", installation.database_url, "--schema", "theirs", "--no-dry-run")
    before, used, started = _wallets(installation), _cpu_of_children(), time.monotonic()
    with installation.process(*words) as process, Watch({"adopt": process.pid}).watching() as watch:
        status = process.wait()
        seconds = time.monotonic() - started
    if status != 0:
        raise SystemExit(f"adopt: exit {status}")
    rows = installation.query("SELECT count(*) FROM theirs.wallets")[0][0]
    return {
        "adopted": _wallets(installation) - before,
        "rows": rows,
        "rows_a_second": round(rows / seconds),
        "cpu_ms_a_row": round(1000 * (_cpu_of_children() - used) / rows, 3),
        "peak_mib": round(watch.peak["adopt"].rss / _MIB),
    }


def _wallets(installation: Installation) -> int:
    return int(installation.query("SELECT count(*) FROM wallets")[0][0])


def _cpu_of_children() -> float:
    """CPU seconds of the child processes that have ended; the others last for the whole measurement."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _make(database_url: str, wallets: int) -> None:
    chunks = [(database_url, min(_CHUNK, wallets - start)) for start in range(0, wallets, _CHUNK)]
    with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
        for _ in pool.imap_unordered(_write, chunks):
            pass


def _write(chunk: Chunk) -> None:
    database_url, count = chunk
    key = nth(make_account(KEYS), 1)
    with (
        psycopg.connect(database_url) as connection,
        connection.cursor() as cursor,
        cursor.copy(_COPY) as copy,
    ):
        for _ in range(count):
            mnemonic, dek, iv = ethereum.generate_mnemonic(), os.urandom(32), os.urandom(12)
            account = ethereum.derive(mnemonic)
            sealed = AESGCM(dek).encrypt(iv, mnemonic.reveal().encode(), None)
            seed = ":".join(part.hex() for part in (iv, sealed[-16:], sealed[:-16]))
            # As the ported service wraps it: without a context.
            blob = {"encryptedData": b64encode(key.wrap(dek, {})).decode(), "kmsKeyId": key.arn}
            copy.write_row(
                (
                    str(uuid.uuid4()), account.address, account.compressed_public_key, seed,
                    json.dumps(blob), key.arn,
                )
            )  # fmt: skip
