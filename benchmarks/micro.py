"""The cost of the work itself, piece by piece and without any network: the minimum of a request."""

import json
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import boto3
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC

from benchmarks.keys import REGION, make_account, nth
from kms_service import ethereum
from kms_service.crypto import audit_chain, envelope
from kms_service.crypto.envelope import WalletSecret
from kms_service.crypto.material import DataKey, Mnemonic
from kms_service.crypto.row_mac import RowLabel, RowMacKeyring, key_id, wallet_fields
from kms_service.ethereum import signing
from kms_service.service.wallets.opening import account_in, encryption_context

if TYPE_CHECKING:
    from types_boto3_kms import KMSClient

_ROUNDS = 5
Pieces = dict[str, Callable[[], object]]

# What each request must do; the rest of its CPU is HTTP, access, audit, PostgreSQL and the KMS client.
FLOORS = {
    "create": ("phrase of 12 words", "derive phrase to address", "seal seed", "make row MAC"),
    "private-key": ("check row MAC", "open seed of version 2 to its address"),
    "private-key, version 1": ("check row MAC", "open seed of version 1 to its address"),
    "sign": ("check row MAC", "open seed of version 2 to its address", "sign message"),
}


def micro(seconds: float) -> dict[str, Any]:
    """CPU microseconds of each piece (the best of five rounds, in one thread) and the floors in milliseconds.

    Args:
        seconds: roughly, for each piece.
    """
    times = {name: round(1e6 * _best(piece, seconds / _ROUNDS), 1) for name, piece in pieces().items()}
    floors = {
        scenario: round(sum(times[name] for name in names) / 1000, 3) for scenario, names in FLOORS.items()
    }
    return {"pieces_us": times, "floors_ms": floors}


def pieces() -> Pieces:
    """The parts of a creation, an opening and a signature, by name."""
    mnemonic, dek = ethereum.generate_mnemonic(), envelope.new_data_key()
    account = ethereum.derive(mnemonic)
    names = {"user_id": "user-00000000", "wallet_address": account.address}
    contents = WalletSecret(account.private_key, mnemonic)
    encrypted, first = envelope.encrypt(contents, dek, **names), _version_1(mnemonic, dek, **names)
    mac_key = envelope.new_data_key()
    ring = RowMacKeyring(key_id(mac_key), {key_id(mac_key): mac_key})
    fields = wallet_fields("user-00000000", account.address, account.compressed_public_key)
    mac = ring.make(RowLabel.WALLET, fields)
    client, key = _client_without_network(), nth(make_account(1), 1)
    context = encryption_context(account.address)
    blob = key.wrap(dek.reveal(), context)
    row = ["7f0e", "1", "2026-01-01T00:00:00Z", "bench", "wallet.create", "ok", *names.values(), None]
    message = signing.personal_message(b"paid")
    return {
        "phrase of 12 words": ethereum.generate_mnemonic,
        "PBKDF2 alone (2048 rounds)": lambda: _pbkdf2(mnemonic.reveal()),
        "derive phrase to address": lambda: ethereum.derive(mnemonic),
        "data key": envelope.new_data_key,
        "seal seed": lambda: envelope.encrypt(contents, dek, **names),
        "open seed of version 1 to its address": lambda: _address(first, dek, **names),
        "open seed of version 2 to its address": lambda: _address(encrypted, dek, **names),
        "make row MAC": lambda: ring.make(RowLabel.WALLET, fields),
        "check row MAC": lambda: ring.verify(RowLabel.WALLET, fields, mac),
        "audit MAC": lambda: audit_chain.link(dek, audit_chain.START, row),
        "boto3 Encrypt without network": lambda: client.encrypt(
            KeyId=key.arn, Plaintext=dek.reveal(), EncryptionContext=context
        ),
        "boto3 Decrypt without network": lambda: client.decrypt(
            KeyId=key.arn, CiphertextBlob=blob, EncryptionContext=context
        ),
        "sign message": lambda: signing.sign(message, account.private_key),
    }


def _version_1(mnemonic: Mnemonic, dek: DataKey, *, user_id: str, wallet_address: str) -> bytes:
    """A seed as earlier versions encrypted it: the phrase alone."""
    nonce, associated = os.urandom(12), envelope._aad(b"\x01", user_id, wallet_address)  # noqa: SLF001 # written no more
    return b"\x01" + nonce + AESGCM(dek.reveal()).encrypt(nonce, mnemonic.reveal().encode(), associated)


def _address(encrypted: bytes, dek: DataKey, *, user_id: str, wallet_address: str) -> str:
    """What opening a wallet does after KMS's answer."""
    return account_in(
        envelope.decrypt(encrypted, dek, user_id=user_id, wallet_address=wallet_address)
    ).address


def _pbkdf2(phrase: str) -> bytes:
    kdf = PBKDF2HMAC(algorithm=SHA512(), length=64, salt=b"mnemonic", iterations=2048)
    return kdf.derive(phrase.encode())


def _best(piece: Callable[[], object], seconds: float) -> float:
    """CPU seconds of one call: the minimum over the rounds, since noise only adds."""
    started = time.perf_counter()
    piece()
    calls = max(1, int(seconds / max(1e-7, time.perf_counter() - started)))
    rounds = []
    for _ in range(_ROUNDS):
        before = time.thread_time()
        for _ in range(calls):
            piece()
        rounds.append((time.thread_time() - before) / calls)
    return min(rounds)


class _Body:
    """An answer as urllib3 would pass it on."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self, **_: Any) -> list[bytes]:
        """All of it."""
        return [self._content]


def _client_without_network() -> "KMSClient":
    """A boto3 client that gets its answer where it would send a request."""
    secret = "benchmark"
    session = boto3.Session(aws_access_key_id=secret, aws_secret_access_key=secret, region_name=REGION)
    client: KMSClient = session.client("kms")
    content = json.dumps({"CiphertextBlob": "AAAA", "Plaintext": "AAAA", "KeyId": "key"}).encode()

    def answer(**_: Any) -> Any:
        return AWSResponse("http://127.0.0.1", 200, HTTPHeaders(), _Body(content))

    client.meta.events.register_first("before-send.kms", answer)
    return client
