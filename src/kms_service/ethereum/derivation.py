"""Derives accounts from entropy: BIP-39 in English without a passphrase, BIP-32 along m/44'/60'/0'/0/0.

Phrases made here have 12 words; imported ones have 12 to 24.

Curve arithmetic is libsecp256k1's, through coincurve; the walk down the path is BIP-32's CKDpriv.
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import mnemonic as bip39
from coincurve import PublicKey
from coincurve.utils import GROUP_ORDER_INT
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC

from kms_service.crypto.material import PRIVATE_KEY_BYTES, Mnemonic, PrivateKey
from kms_service.errors import IntegrityFailure
from kms_service.ethereum.address import address_of

DERIVATION_PATH = "m/44'/60'/0'/0/0"
_HARDENED = 1 << 31
_PATH = (44 + _HARDENED, 60 + _HARDENED, 0 + _HARDENED, 0, 0)
_ENTROPY_BITS = 128
_WORDS = (12,)
_IMPORTED_WORDS = (12, 15, 18, 21, 24)
_WORD_BITS = 11
_WORDS_PER_CHECKSUM_BIT = 3


@dataclass(frozen=True, slots=True)
class Account:
    """An account of Ethereum.

    Attributes:
        address: EIP-55.
        compressed_public_key: `0x` and the 33 bytes of SEC 1's compressed form in hex.
        private_key: a secret that the caller owns.
    """

    address: str
    compressed_public_key: str
    private_key: PrivateKey


@cache
def _english() -> bip39.Mnemonic:
    return bip39.Mnemonic("english")


def generate_mnemonic() -> Mnemonic:
    """A fresh phrase of 12 English words from 128 bits of the operating system's entropy (BIP-39).

    The caller owns the secret.
    """
    return Mnemonic(_english().generate(_ENTROPY_BITS))


def account_of(private_key: PrivateKey) -> Account:
    """The account of a private key, by one multiplication on the curve. The caller owns the key.

    Raises:
        IntegrityFailure: the number is not a key of secp256k1: it is zero, or not below the group's order.
    """
    try:
        public = PublicKey.from_valid_secret(private_key.reveal())
    except ValueError:
        # from None: the error's frames hold the key.
        raise IntegrityFailure("private key") from None
    compressed = "0x" + public.format(compressed=True).hex()
    return Account(address_of(public.format(compressed=False)), compressed, private_key)


def derive(mnemonic: Mnemonic) -> Account:
    """The account at m/44'/60'/0'/0/0 (BIP-32, BIP-44) of a phrase made here. The caller owns the key.

    Raises:
        IntegrityFailure: not 12 English words with a valid checksum; the error holds none of the words.
    """
    return _derive(mnemonic, _WORDS)


def derive_imported(mnemonic: Mnemonic) -> Account:
    """The account at the same path, of a phrase made elsewhere. The caller owns the key.

    Raises:
        IntegrityFailure: not 12, 15, 18, 21 or 24 English words with a valid checksum; the error holds none
            of the words.
    """
    return _derive(mnemonic, _IMPORTED_WORDS)


def fault_of_phrase(mnemonic: Mnemonic) -> str | None:
    """Why `derive_imported` would refuse a phrase, for whoever typed it; None if it would not.

    The answer holds only words of this code, and none of the phrase.
    """
    return _fault(mnemonic.reveal(), _IMPORTED_WORDS)


def _derive(mnemonic: Mnemonic, word_counts: tuple[int, ...]) -> Account:
    phrase = mnemonic.reveal()
    if _fault(phrase, word_counts) is not None:
        raise IntegrityFailure("mnemonic")
    return account_of(PrivateKey(_descend(_seed(phrase), _PATH)))


@cache
def _places() -> Mapping[str, int]:
    return {word: place for place, word in enumerate(_english().wordlist)}


def _fault(phrase: str, word_counts: tuple[int, ...]) -> str | None:
    # BIP-39's own check, with a table: the library searches the list of 2048 words for each word.
    places = [_places().get(word) for word in phrase.split(" ")]
    if len(places) not in word_counts:
        return "does not have 12, 15, 18, 21 or 24 words with one space between"
    bits = 0
    for place in places:
        if place is None:
            return "has a word that is not in BIP-39's English list"
        bits = bits << _WORD_BITS | place
    checksum_bits = len(places) // _WORDS_PER_CHECKSUM_BIT
    entropy, checksum = divmod(bits, 1 << checksum_bits)
    digest = hashlib.sha256(entropy.to_bytes(4 * checksum_bits)).digest()
    return None if digest[0] >> 8 - checksum_bits == checksum else "has a wrong checksum"


def _seed(phrase: str) -> bytes:
    # OpenSSL's PBKDF2 runs without the interpreter lock; for ASCII words BIP-39's NFKD changes nothing.
    return PBKDF2HMAC(algorithm=SHA512(), length=64, salt=b"mnemonic", iterations=2048).derive(
        phrase.encode()
    )


def _descend(seed: bytes, path: tuple[int, ...]) -> bytes:
    """The private key at `path` below a seed's master key (BIP-32)."""
    node = hmac.digest(b"Bitcoin seed", seed, "sha512")
    for index in path:
        node = _child(node[:PRIVATE_KEY_BYTES], node[PRIVATE_KEY_BYTES:], index)
    return node[:PRIVATE_KEY_BYTES]


def _child(key: bytes, chain_code: bytes, index: int) -> bytes:
    """BIP-32's CKDpriv: the child's key and chain code, 32 bytes each.

    BIP-32 skips an invalid child. Only one in 2^127 is invalid, so here it is an error.
    """
    parent = b"\x00" + key if index >= _HARDENED else _public(key)
    digest = hmac.digest(chain_code, parent + index.to_bytes(4), "sha512")
    tweak = int.from_bytes(digest[:PRIVATE_KEY_BYTES])
    child = (tweak + int.from_bytes(key)) % GROUP_ORDER_INT
    if tweak >= GROUP_ORDER_INT or child == 0:
        raise IntegrityFailure("derivation")
    return child.to_bytes(PRIVATE_KEY_BYTES) + digest[PRIVATE_KEY_BYTES:]


def _public(key: bytes) -> bytes:
    return PublicKey.from_secret(key).format(compressed=True)
