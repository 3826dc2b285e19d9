"""Fills the wallets table: real mnemonics, addresses, envelopes and wrapped DEKs, written by COPY.

Sealed by the service's own code and wrapped by the stand-in's keys, without HTTP between. Every wallet has
its own user, phrase, DEK, nonce and wrapped DEK, and its DEK opens its seed. Addresses are unique, so each
wallet that opens to its address costs a key derivation (PBKDF2: 1 to 2 ms of CPU), which is most of the cost.
Millions are therefore filled with `opens_every`: every so many-th wallet has the address of its phrase, and
can be read and signed with; those between have an address of no phrase. To the database, to KMS and to a
rotation they are all the same; only whoever opens one of the latter to its key meets `integrity_failure`.
"""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator

import psycopg

from benchmarks.keys import REGION, nth, seeded
from benchmarks.scenarios import user_id
from kms_service import ethereum
from kms_service.crypto import envelope
from kms_service.crypto.material import DataKey
from kms_service.errors import IntegrityFailure
from kms_service.ethereum.address import checksummed
from kms_service.local.kms.keys import Key
from kms_service.local.kms.protocol import KmsError
from kms_service.service.wallets.opening import encryption_context

_CHUNK = 2_000
_COPY = (
    "COPY wallets (user_id, wallet_address, encrypted_seed, encrypted_dek, kms_key_id, kms_region) "
    "FROM STDIN (FORMAT BINARY)"
)
_TYPES = ["varchar", "varchar", "bytea", "bytea", "varchar", "varchar"]

Row = tuple[str, str, bytes, bytes, str, str]
Chunk = tuple[str, int, range, int]


def fill(
    database_url: str,
    keys: int,
    wallets: int,
    opens_every: int = 1,
    progress: Callable[[int], object] = lambda _written: None,
) -> None:
    """Insert so many wallets, all under the first key, from a process for each CPU.

    Args:
        database_url: of a migrated database.
        keys: how many the stand-in has.
        wallets: how many to insert.
        opens_every: 1, or the distance between wallets that open to their address.
        progress: told how many more have been written, each time.
    """
    spans = (range(start, min(start + _CHUNK, wallets)) for start in range(0, wallets, _CHUNK))
    chunks = ((database_url, keys, span, opens_every) for span in spans)
    with multiprocessing.get_context("spawn").Pool(os.cpu_count(), _leave_interrupts_to_the_parent) as pool:
        for written in pool.imap_unordered(_written, chunks):
            progress(written)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE wallets")
        connection.execute("CHECKPOINT")


def user_ids(wallets: int, opens_every: int = 1) -> Iterator[str]:
    """The users of the filled wallets that open to their address."""
    return (user_id(number) for number in range(0, wallets, opens_every))


def unsealable(database_url: str, keys: int) -> int:
    """How many wallets have a DEK that the stand-in's keys do not unwrap, or that does not open the seed."""
    bad, store = 0, seeded(keys).region(REGION)
    statement = "SELECT user_id, wallet_address, encrypted_seed, encrypted_dek, kms_key_id FROM wallets"
    with psycopg.connect(database_url) as connection, connection.cursor("wallets", binary=True) as cursor:
        cursor.itersize = _CHUNK
        for user, address, seed, blob, arn in cursor.execute(statement):
            try:
                key, material = store.maker(blob)
                dek = material.unwrap(blob, encryption_context(address))
                envelope.open_(seed, DataKey(dek), user_id=user, wallet_address=address)
                bad += key.arn != arn
            except (KmsError, IntegrityFailure):
                bad += 1
    return bad


def remove_unopenable(database_url: str, opens_every: int) -> None:
    """Leave only those of the filled wallets that open to their address."""
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "DELETE FROM wallets WHERE user_id LIKE 'user-%%' AND substr(user_id, 6)::bigint %% %s <> 0",
            (opens_every,),
        )


def _leave_interrupts_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _written(chunk: Chunk) -> int:
    database_url, count, span, opens_every = chunk
    key = nth(seeded(count), 1)
    with (
        psycopg.connect(database_url) as connection,
        connection.cursor() as cursor,
        cursor.copy(_COPY) as copy,
    ):
        copy.set_types(_TYPES)
        for number in span:
            copy.write_row(_made(key, number, opens=number % opens_every == 0))
    return len(span)


def _made(key: Key, number: int, *, opens: bool) -> Row:
    mnemonic, dek, user = ethereum.generate_mnemonic(), envelope.new_data_key(), user_id(number)
    address = ethereum.derive(mnemonic).address if opens else checksummed(os.urandom(20))
    seed = envelope.seal(mnemonic, dek, user_id=user, wallet_address=address)
    blob = key.wrap(dek.reveal(), encryption_context(address))
    return user, address, seed, blob, key.arn, REGION
