"""Wallets at rest, made on the low-level ciphers of `cryptography`; every secret is a digest of a label."""

import hashlib
from dataclasses import dataclass

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import GCM

from vectors import derivation

LABELS = {1: b"kms-service/seed\x01", 2: b"kms-service/seed\x02"}
JUNK = "test test test test test test test test test test test junk"
ABOUT = "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about"


@dataclass(frozen=True)
class Row:
    """A wallet at rest, with the DEK that KMS would give back."""

    user_id: str
    wallet_address: str
    dek: bytes
    encrypted_seed: bytes

    def fields(self) -> dict[str, str]:
        """As the files hold it."""
        return {
            "user_id": self.user_id,
            "wallet_address": self.wallet_address,
            "dek": self.dek.hex(),
            "encrypted_seed": self.encrypted_seed.hex(),
        }


def row_of(user_id: str, phrase: str | bytes, address: str | None = None) -> Row:
    """A row that holds this phrase; at its own address, unless another is given."""
    plaintext = phrase if isinstance(phrase, bytes) else phrase.encode()
    address = address or derivation.address(derivation.private_key(plaintext.decode()))
    label = f"{user_id} {plaintext.hex()} {address}"
    dek, nonce = draw(f"DEK {label}", 32), draw_nonce(label)
    return Row(user_id, address, dek, seal(plaintext, dek, nonce, associated_data(user_id, address)))


def account_row_of(user_id: str, key: bytes, phrase: str | bytes, address: str | None = None) -> Row:
    """A row of version 2 that holds this key and phrase; at the key's address, unless another is given."""
    plaintext = key + (phrase if isinstance(phrase, bytes) else phrase.encode())
    address = address or derivation.address(key)
    label = f"{user_id} {plaintext.hex()} {address} version 2"
    dek, nonce = draw(f"DEK {label}", 32), draw_nonce(label)
    return Row(user_id, address, dek, seal(plaintext, dek, nonce, associated_data(user_id, address, 2), 2))


def associated_data(user_id: str, address: str, version: int = 1) -> bytes:
    """The associated data of a row."""
    user = user_id.encode()
    label = LABELS[version]
    return label + len(user).to_bytes(2) + user + len(address).to_bytes(2) + address.encode()


def seal(plaintext: bytes, dek: bytes, nonce: bytes, data: bytes, version: int = 1) -> bytes:
    """The encrypted seed, as it is stored."""
    encryptor = Cipher(AES(dek), GCM(nonce)).encryptor()
    encryptor.authenticate_additional_data(data)
    return bytes([version]) + nonce + encryptor.update(plaintext) + encryptor.finalize() + encryptor.tag


def draw(label: str, length: int) -> bytes:
    """At most 32 bytes that this label always gives."""
    return hashlib.sha256(f"kms-service test vector: {label}".encode()).digest()[:length]


def draw_nonce(label: str) -> bytes:
    """Twelve bytes that this label always gives."""
    return draw(f"nonce {label}", 12)
