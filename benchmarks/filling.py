"""Fills the wallets table with wallets that open: real mnemonics, addresses, envelopes and wrapped DEKs.

Sealed by the service's own code and wrapped by the stand-in's keys, without HTTP between; written by COPY.
"""

import multiprocessing
import os
from collections.abc import Iterator

import psycopg
from kms_standin import REGION, Keys

from kms_service import envelope, ethereum
from kms_service.service.opening import encryption_context

_CHUNK = 500
_COPY = (
    "COPY wallets (user_id, wallet_address, encrypted_seed, encrypted_dek, kms_key_id, kms_region) "
    "FROM STDIN (FORMAT BINARY)"
)
_TYPES = ["varchar", "varchar", "bytea", "bytea", "varchar", "varchar"]

Row = tuple[str, str, bytes, bytes, str, str]


def fill(database_url: str, keys: int, wallets: int) -> None:
    """Insert so many wallets, all under the first key; each costs a key derivation of CPU."""
    context = multiprocessing.get_context("spawn")
    chunks = [(keys, start, min(start + _CHUNK, wallets)) for start in range(0, wallets, _CHUNK)]
    with (
        context.Pool(os.cpu_count()) as pool,
        psycopg.connect(database_url) as connection,
        connection.cursor() as cursor,
        cursor.copy(_COPY) as copy,
    ):
        copy.set_types(_TYPES)
        for rows in pool.imap_unordered(_made, chunks):
            for row in rows:
                copy.write_row(row)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE wallets")


def user_ids(wallets: int) -> Iterator[str]:
    """The users that `fill` makes wallets for."""
    return (f"user-{number:08}" for number in range(wallets))


def _made(chunk: tuple[int, int, int]) -> list[Row]:
    count, start, end = chunk
    keys = Keys(count)
    rows = []
    for number in range(start, end):
        mnemonic, dek = ethereum.generate_mnemonic(), envelope.new_data_key()
        address, user_id = ethereum.derive(mnemonic).address, f"user-{number:08}"
        seed = envelope.seal(mnemonic, dek, user_id=user_id, wallet_address=address)
        blob = keys.wrap(0, dek.reveal(), encryption_context(address))
        rows.append((user_id, address, seed, blob, keys.arns[0], REGION))
    return rows
