"""BIP-39, BIP-32 and EIP-55 on the primitives of `cryptography`, for making vectors.

Written from the texts: https://github.com/bitcoin/bips/blob/master/bip-0039.mediawiki, bip-0032.mediawiki
and https://eips.ethereum.org/EIPS/eip-55. The decoder has its own, on integers.
"""

import hashlib
from importlib import resources

from Crypto.Hash import keccak
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

HARDENED = 1 << 31
ETHEREUM = (44 | HARDENED, 60 | HARDENED, 0 | HARDENED, 0, 0)
_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def phrase(entropy: bytes) -> str:
    """The English phrase of this entropy: 16 bytes make 12 words."""
    words = resources.files("mnemonic").joinpath("wordlist/english.txt").read_text().split()
    checksum_bits = len(entropy) // 4
    checksum = hashlib.sha256(entropy).digest()[0] >> (8 - checksum_bits)
    bits = int.from_bytes(entropy) << checksum_bits | checksum
    count = (len(entropy) * 8 + checksum_bits) // 11
    return " ".join(words[bits >> 11 * (count - 1 - index) & 0x7FF] for index in range(count))


def private_key(mnemonic: str, path: tuple[int, ...] = ETHEREUM, passphrase: str = "") -> bytes:
    """The 32-byte key at a path below the phrase's master key."""
    salt = b"mnemonic" + passphrase.encode()
    seed = PBKDF2HMAC(algorithm=SHA512(), length=64, salt=salt, iterations=2048).derive(mnemonic.encode())
    node = _hmac(b"Bitcoin seed", seed)
    for index in path:
        key, chain_code = node[:32], node[32:]
        serialised = b"\x00" + key if index & HARDENED else _public(key, PublicFormat.CompressedPoint)
        child = _hmac(chain_code, serialised + index.to_bytes(4))
        scalar = (int.from_bytes(child[:32]) + int.from_bytes(key)) % _ORDER
        node = scalar.to_bytes(32) + child[32:]
    return node[:32]


def address(key: bytes) -> str:
    """The EIP-55 address of a private key."""
    plain = _keccak(_public(key, PublicFormat.UncompressedPoint)[1:])[-20:].hex()
    digest = _keccak(plain.encode()).hex()
    return "0x" + "".join(
        char.upper() if int(nibble, 16) > 7 else char for char, nibble in zip(plain, digest, strict=False)
    )


def compressed_public_key(key: bytes) -> str:
    """SEC 1's compressed form of a private key's public key, in hex behind `0x`."""
    return "0x" + _public(key, PublicFormat.CompressedPoint).hex()


def _public(key: bytes, form: PublicFormat) -> bytes:
    public = ec.derive_private_key(int.from_bytes(key), ec.SECP256K1()).public_key()
    return public.public_bytes(Encoding.X962, form)


def _hmac(key: bytes, data: bytes) -> bytes:
    mac = HMAC(key, SHA512())
    mac.update(data)
    return mac.finalize()


def _keccak(data: bytes) -> bytes:
    return keccak.new(digest_bits=256, data=data).digest()
