"""The sealed seed: byte layout, associated data, seal and open. Bytes in, bytes out, no I/O.

    0x01 ‖ nonce (12) ‖ AES-256-GCM ciphertext ‖ tag (16)

The layout version is the first byte and part of the associated data. Every DEK seals exactly one message, so
a random 96-bit nonce cannot repeat under a key (NIST SP 800-38D, 8.2.2).
"""

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from kms_service.crypto.material import DEK_BYTES, DataKey, Mnemonic
from kms_service.errors import IntegrityFailure

VERSION = b"\x01"
NONCE_BYTES = 12
TAG_BYTES = 16
_AAD_LABEL = b"kms-service/seed" + VERSION


def new_data_key() -> DataKey:
    """A fresh DEK: 32 bytes from the operating system's generator. The caller owns the secret."""
    return DataKey(os.urandom(DEK_BYTES))


def seal(mnemonic: Mnemonic, dek: DataKey, *, user_id: str, wallet_address: str) -> bytes:
    """Encrypt a mnemonic so that it opens only with this DEK, for this user and this address.

    Args:
        mnemonic: the phrase; sealed as UTF-8.
        dek: used for this one message only.
        user_id: bound as associated data, compared exactly.
        wallet_address: bound as associated data, EIP-55 as stored.

    Returns:
        `encrypted_seed` as it is stored.
    """
    return _seal(mnemonic, dek, os.urandom(NONCE_BYTES), user_id, wallet_address)


def _seal(mnemonic: Mnemonic, dek: DataKey, nonce: bytes, user_id: str, wallet_address: str) -> bytes:
    # The only seam for a known nonce: test vectors need one, nothing else may have one.
    plaintext = mnemonic.reveal().encode()
    return VERSION + nonce + AESGCM(dek.reveal()).encrypt(nonce, plaintext, _aad(user_id, wallet_address))


def open_(encrypted_seed: bytes, dek: DataKey, *, user_id: str, wallet_address: str) -> Mnemonic:
    """Decrypt a sealed seed, or refuse. The caller owns the secret.

    Raises:
        IntegrityFailure: the bytes are not what `seal` made with this DEK, user and address.
    """
    if len(encrypted_seed) <= len(VERSION) + NONCE_BYTES + TAG_BYTES or encrypted_seed[:1] != VERSION:
        raise IntegrityFailure("seed layout")
    nonce, sealed = encrypted_seed[1 : 1 + NONCE_BYTES], encrypted_seed[1 + NONCE_BYTES :]
    try:
        plaintext = AESGCM(dek.reveal()).decrypt(nonce, sealed, _aad(user_id, wallet_address))
        return Mnemonic(plaintext.decode())
    except (InvalidTag, UnicodeDecodeError):
        # from None: a decoding error carries the plaintext.
        raise IntegrityFailure("seed tag") from None


def _aad(user_id: str, wallet_address: str) -> bytes:
    return _AAD_LABEL + _with_length(user_id) + _with_length(wallet_address)


def _with_length(text: str) -> bytes:
    data = text.encode()
    return len(data).to_bytes(2, "big") + data
