"""Fills the wallets table: real mnemonics, addresses, envelopes and wrapped DEKs, written by COPY.

The service's own code encrypts them and the stand-in's keys wrap them, without HTTP in between. Every wallet
has its own user, phrase, DEK, nonce and wrapped DEK, and its DEK opens its seed. Addresses are unique, so
each wallet that opens to its address costs a key derivation (PBKDF2: 1 to 2 ms of CPU), which is most of the
cost. Millions are therefore filled with `opens_every`: only every n-th wallet has the address of its phrase,
and can be read and signed with; the others have an address of no phrase. To the database, KMS and a rotation
they are all the same; only opening one of the others to its key gives `integrity_failure`.
"""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from uuid import UUID

import psycopg
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from benchmarks.keys import PREFIX, REGION, make_account, nth
from benchmarks.scenarios import user_id
from kms_service import ethereum
from kms_service.crypto import envelope
from kms_service.crypto.envelope import WalletSecret
from kms_service.crypto.material import DataKey, PrivateKey
from kms_service.crypto.row_mac import RowLabel, RowMacKeyring, key_id, wallet_fields
from kms_service.errors import IntegrityFailure
from kms_service.ethereum import Account
from kms_service.ethereum.address import add_checksum
from kms_service.local.kms.keys import Key
from kms_service.local.kms.protocol import KmsError
from kms_service.service.wallets.opening import encryption_context

_CHUNK = 2_000
_COPY = (
    "COPY wallets (user_id, wallet_address, compressed_public_key, encrypted_seed, encrypted_dek, "
    "kms_key_id, kms_region, wallet_mac, wallet_mac_key_id) FROM STDIN (FORMAT BINARY)"
)
_TYPES = ["varchar", "varchar", "varchar", "bytea", "bytea", "varchar", "varchar", "bytea", "uuid"]

Row = tuple[str, str, str, bytes, bytes, str, str, bytes, UUID]
Chunk = tuple[str, int, range, int, bytes, int]


def fill(
    database_url: str,
    keys: int,
    wallets: int,
    opens_every: int = 1,
    progress: Callable[[int], object] = lambda _written: None,
    *,
    envelope_version: int = 2,
) -> None:
    """Insert `wallets`, all under the first key; many from one process per CPU, few from this one.

    Args:
        database_url: of a migrated database.
        keys: how many the stand-in has.
        wallets: how many to insert.
        opens_every: the distance between wallets that open to their address; 1 for all.
        progress: called with the number written since its last call.
        envelope_version: 1 for rows from before the key was encrypted with its phrase.
    """
    spans = [range(start, min(start + _CHUNK, wallets)) for start in range(0, wallets, _CHUNK)]
    mac_key = _mac_key(database_url, keys)
    chunks = [(database_url, keys, span, opens_every, mac_key, envelope_version) for span in spans]
    if len(chunks) == 1:
        progress(_write(*chunks))  # sooner than a process starts
    else:
        _write_in_parallel(chunks, progress)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE wallets")
        connection.execute("CHECKPOINT")


def user_ids(wallets: int, opens_every: int = 1) -> Iterator[str]:
    """The users of the filled wallets that open to their address."""
    return (user_id(number) for number in range(0, wallets, opens_every))


def unsealable(database_url: str, keys: int) -> int:
    """The number of wallets whose DEK the stand-in's keys do not unwrap, or does not open the seed."""
    bad, store = 0, make_account(keys).region(REGION)
    statement = "SELECT user_id, wallet_address, encrypted_seed, encrypted_dek, kms_key_id FROM wallets"
    with psycopg.connect(database_url) as connection, connection.cursor("wallets", binary=True) as cursor:
        cursor.itersize = _CHUNK
        for user, address, seed, blob, arn in cursor.execute(statement):
            try:
                key, material = store.maker(blob)
                dek = material.unwrap(blob, encryption_context(address))
                envelope.decrypt(seed, DataKey(dek), user_id=user, wallet_address=address)
                bad += key.arn != arn
            except (KmsError, IntegrityFailure):
                bad += 1
    return bad


def remove_unopenable(database_url: str, opens_every: int) -> None:
    """Delete those of the filled wallets that do not open to their address."""
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "DELETE FROM wallets WHERE user_id LIKE 'user-%%' AND substr(user_id, 6)::bigint %% %s <> 0",
            (opens_every,),
        )


def _write_in_parallel(chunks: Sequence[Chunk], progress: Callable[[int], object]) -> None:
    with multiprocessing.get_context("spawn").Pool(os.cpu_count(), _leave_interrupts_to_the_parent) as pool:
        for written in pool.imap_unordered(_write, chunks):
            progress(written)


def _leave_interrupts_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _write(chunk: Chunk) -> int:
    database_url, count, span, opens_every, secret, version = chunk
    key, mac_key = nth(make_account(count), 1), DataKey(secret)
    ring = RowMacKeyring(key_id(mac_key), {key_id(mac_key): mac_key})
    with (
        psycopg.connect(database_url) as connection,
        connection.cursor() as cursor,
        cursor.copy(_COPY) as copy,
    ):
        copy.set_types(_TYPES)
        for number in span:
            copy.write_row(_make(key, ring, number, version, opens=number % opens_every == 0))
    return len(span)


def _make(key: Key, ring: RowMacKeyring, number: int, version: int, *, opens: bool) -> Row:
    mnemonic, dek, user = ethereum.generate_mnemonic(), envelope.new_data_key(), user_id(number)
    account = ethereum.derive(mnemonic) if opens else _unopenable_account()
    address, public_key = account.address, account.compressed_public_key
    seed = _seed(version, WalletSecret(account.private_key, mnemonic), dek, user, address)
    blob = key.wrap(dek.reveal(), encryption_context(address))
    mac = ring.make(RowLabel.WALLET, wallet_fields(user, address, public_key))
    return user, address, public_key, seed, blob, key.arn, REGION, mac.mac, mac.key_id


def _seed(version: int, contents: WalletSecret, dek: DataKey, user: str, address: str) -> bytes:
    if version != 1:
        return envelope.encrypt(contents, dek, user_id=user, wallet_address=address)
    assert contents.mnemonic is not None
    # The service only reads these: docs/data-at-rest.md has their layout.
    bound = b"".join(len(text).to_bytes(2) + text.encode() for text in (user, address))
    nonce, phrase = os.urandom(12), contents.mnemonic.reveal().encode()
    encrypted = AESGCM(dek.reveal()).encrypt(nonce, phrase, b"kms-service/seed\x01" + bound)
    return b"\x01" + nonce + encrypted


def _unopenable_account() -> Account:
    return Account(
        add_checksum(os.urandom(20)), "0x02" + os.urandom(32).hex(), PrivateKey(b"\x01" + os.urandom(31))
    )


def _mac_key(database_url: str, keys: int) -> bytes:
    """The key of row MACs; a new one if the database has none."""
    store, context = make_account(keys).region(REGION), {"purpose": "row-mac"}
    key, secret = store.find(f"alias/{PREFIX}-1"), os.urandom(32)
    made = (key_id(DataKey(secret)), key.wrap(secret, context), key.arn, REGION)
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "INSERT INTO row_mac_keys (number, wrapping, key_id, wrapped_key, kms_key_id, kms_region) "
            "VALUES (1, 1, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
            made,
        )
        row = connection.execute(
            "SELECT wrapped_key FROM row_mac_keys ORDER BY number, wrapping LIMIT 1"
        ).fetchone()
    assert row is not None
    _, material = store.maker(row[0])
    return material.unwrap(row[0], context)
