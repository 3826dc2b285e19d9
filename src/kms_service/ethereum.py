"""Mnemonics, derivation and addresses; the only importer of `eth_account` and `mnemonic`.

BIP-39 with 12 English words and no passphrase, BIP-32 along m/44'/60'/0'/0/0, EIP-55 addresses.
"""

from dataclasses import dataclass
from functools import cache

import eth_account.hdaccount
import mnemonic as bip39
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC
from eth_keys.datatypes import PrivateKey as Secp256k1Key

from kms_service.errors import IntegrityFailure
from kms_service.material import Mnemonic, PrivateKey

DERIVATION_PATH = "m/44'/60'/0'/0/0"
_ENTROPY_BITS = 128
_WORDS = 12


@dataclass(frozen=True, slots=True)
class Account:
    """A derived account: the EIP-55 address, and the key, which is a secret of the caller's."""

    address: str
    private_key: PrivateKey


@cache
def _english() -> bip39.Mnemonic:
    return bip39.Mnemonic("english")


def generate_mnemonic() -> Mnemonic:
    """A fresh phrase of 12 English words from 128 bits of the operating system's entropy (BIP-39).

    The caller owns the secret.
    """
    return Mnemonic(_english().generate(_ENTROPY_BITS))


def derive(mnemonic: Mnemonic) -> Account:
    """The account at m/44'/60'/0'/0/0 (BIP-32, BIP-44). The caller owns the key.

    Raises:
        IntegrityFailure: not 12 English words with a right checksum; says no word of them.
    """
    phrase = mnemonic.reveal()
    if len(phrase.split(" ")) != _WORDS or not _is_valid(phrase):
        raise IntegrityFailure("mnemonic")
    key = eth_account.hdaccount.key_from_seed(_seed(phrase), DERIVATION_PATH)
    return Account(Secp256k1Key(key).public_key.to_checksum_address(), PrivateKey(key))


def _is_valid(phrase: str) -> bool:
    return phrase.isascii() and bool(_english().check(phrase))


def _seed(phrase: str) -> bytes:
    # OpenSSL's PBKDF2 runs without the interpreter lock; for ASCII words BIP-39's NFKD changes nothing.
    return PBKDF2HMAC(algorithm=SHA512(), length=64, salt=b"mnemonic", iterations=2048).derive(
        phrase.encode()
    )
