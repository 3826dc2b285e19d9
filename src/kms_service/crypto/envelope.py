"""The encrypted seed: byte layouts, associated data, encrypt and decrypt. Bytes in, bytes out, no I/O.

    0x02 ‖ nonce (12) ‖ AES-256-GCM ciphertext of private key (32) and UTF-8 phrase ‖ tag (16)
    0x01 ‖ nonce (12) ‖ AES-256-GCM ciphertext of the UTF-8 phrase ‖ tag (16)

Version 2 is written; its phrase is empty for a wallet that was imported as a bare key. Version 1 is only
read, for ever. The version is the first byte and part of the associated data. A DEK encrypts one message
only, so a random 96-bit nonce cannot repeat under a key (NIST SP 800-38D, 8.2.2).
"""

import os
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from kms_service.crypto.material import DEK_BYTES, PRIVATE_KEY_BYTES, DataKey, Mnemonic, PrivateKey
from kms_service.errors import IntegrityFailure

PHRASE_ALONE = b"\x01"
KEY_AND_PHRASE = b"\x02"
NONCE_BYTES = 12
TAG_BYTES = 16
_LABEL = b"kms-service/seed"


@dataclass(frozen=True, slots=True)
class PhraseSecret:
    """What version 1 holds: the phrase, from which the key is derived. The caller owns the secret."""

    mnemonic: Mnemonic


@dataclass(frozen=True, slots=True)
class WalletSecret:
    """What version 2 holds: the key, and the phrase behind it, if any. The caller owns both secrets."""

    private_key: PrivateKey
    mnemonic: Mnemonic | None


def new_data_key() -> DataKey:
    """A fresh DEK: 32 bytes from the operating system's random generator. The caller owns the secret."""
    return DataKey(os.urandom(DEK_BYTES))


def encrypt(contents: WalletSecret, dek: DataKey, *, user_id: str, wallet_address: str) -> bytes:
    """Encrypt a wallet so that it opens only with this DEK, for this user and this address.

    Args:
        contents: the key, and its phrase if it has one.
        dek: must never have encrypted anything, and never encrypt anything else.
        user_id: bound as associated data, byte for byte.
        wallet_address: bound as associated data, in EIP-55 form as stored.

    Returns:
        `encrypted_seed` as it is stored.
    """
    return _encrypt(contents, dek, os.urandom(NONCE_BYTES), user_id, wallet_address)


def _encrypt(contents: WalletSecret, dek: DataKey, nonce: bytes, user_id: str, wallet_address: str) -> bytes:
    # The nonce is a parameter for test vectors alone: nothing else may choose it.
    phrase = "" if contents.mnemonic is None else contents.mnemonic.reveal()
    plaintext = contents.private_key.reveal() + phrase.encode()
    associated = _aad(KEY_AND_PHRASE, user_id, wallet_address)
    return KEY_AND_PHRASE + nonce + AESGCM(dek.reveal()).encrypt(nonce, plaintext, associated)


def decrypt(
    encrypted_seed: bytes, dek: DataKey, *, user_id: str, wallet_address: str
) -> PhraseSecret | WalletSecret:
    """Decrypt a stored seed. The caller owns the secrets, and must check that they give the wallet's address.

    Raises:
        IntegrityFailure: these bytes were not encrypted with this DEK for this user and address.
    """
    version = encrypted_seed[:1]
    too_short = len(encrypted_seed) <= len(version) + NONCE_BYTES + TAG_BYTES
    if too_short or version not in (PHRASE_ALONE, KEY_AND_PHRASE):
        raise IntegrityFailure("seed layout")
    nonce, encrypted = encrypted_seed[1 : 1 + NONCE_BYTES], encrypted_seed[1 + NONCE_BYTES :]
    try:
        plaintext = AESGCM(dek.reveal()).decrypt(nonce, encrypted, _aad(version, user_id, wallet_address))
        return PhraseSecret(Mnemonic(plaintext.decode())) if version == PHRASE_ALONE else _account(plaintext)
    except (InvalidTag, UnicodeDecodeError):
        # from None: a decoding error carries the plaintext.
        raise IntegrityFailure("seed tag") from None


def _account(plaintext: bytes) -> WalletSecret:
    if len(plaintext) < PRIVATE_KEY_BYTES:
        raise IntegrityFailure("seed contents")
    phrase = plaintext[PRIVATE_KEY_BYTES:].decode()
    return WalletSecret(PrivateKey(plaintext[:PRIVATE_KEY_BYTES]), Mnemonic(phrase) if phrase else None)


def _aad(version: bytes, user_id: str, wallet_address: str) -> bytes:
    return _LABEL + version + _with_length(user_id) + _with_length(wallet_address)


def _with_length(text: str) -> bytes:
    data = text.encode()
    return len(data).to_bytes(2, "big") + data
