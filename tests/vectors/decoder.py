"""A second decoder of wallets at rest: none of the service's code, and none of its libraries.

AES-GCM and Keccak come from pycryptodome; BIP-39, BIP-32 and secp256k1 are written out on integers, from the
BIPs and from SEC 2 (https://www.secg.org/sec2-v2.pdf, 2.4.1). Slow and not constant in time: for tests only.
"""

import hashlib
import hmac
from dataclasses import dataclass
from functools import cache
from importlib import resources

from Crypto.Cipher import AES
from Crypto.Hash import keccak

_P = 2**256 - 2**32 - 977
_N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_G = (
    0x79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798,
    0x483ADA7726A3C4655DA4FBFC0E1108A8FD17B448A68554199C47D08FFB10D4B8,
)
_BITS = 256
_WORD_LIST_SHA256 = "2f5eed53a4727b4bf8880d8f3f199efc90e58503646d9ff8eff3a2ed3b24dbda"

Point = tuple[int, int] | None
"""A point of secp256k1; None is the point at infinity."""


class Rejected(Exception):
    """The row is not what the contract describes; `stage` is one of the vectors' stages.

    `envelope`, `contents`, or `phrase`: the last is found by `verify_row` alone.
    """

    def __init__(self, stage: str, reason: str) -> None:
        super().__init__(f"{stage}: {reason}")
        self.stage = stage


@dataclass(frozen=True)
class Wallet:
    """What a row holds; the phrase is None for a wallet that came as a bare key."""

    mnemonic: str | None
    private_key: bytes
    address: str
    compressed_public_key: str


def open_row(*, user_id: str, wallet_address: str, dek: bytes, encrypted_seed: bytes) -> Wallet:
    """Open one row as the contract's section 2 says.

    Raises:
        Rejected: any of its checks fails.
    """
    version = encrypted_seed[:1]
    plaintext = _decrypt(dek, encrypted_seed, aad(user_id, wallet_address, version))
    if version == b"\x01":
        phrase: str | None = _phrase(plaintext, {12})
        key = _derive(phrase or "")
    else:
        key, phrase = _key_and_text(plaintext)
    point = _times_base(key)
    address = _address(point)
    if address != wallet_address:
        raise Rejected("contents", f"the key is that of {address}")
    return Wallet(phrase, key.to_bytes(32, "big"), address, "0x" + _compress(point).hex())


def verify_row(*, user_id: str, wallet_address: str, dek: bytes, encrypted_seed: bytes) -> Wallet:
    """Open one row and derive its key again from its phrase, where it has one.

    Raises:
        Rejected: any check of `open_row` fails, or the phrase is not the key's.
    """
    wallet = open_row(user_id=user_id, wallet_address=wallet_address, dek=dek, encrypted_seed=encrypted_seed)
    if wallet.mnemonic is not None:
        try:
            derived = _derive(_phrase(wallet.mnemonic.encode("utf-8"), {12, 15, 18, 21, 24}))
        except Rejected as refusal:
            raise Rejected("phrase", str(refusal)) from refusal
        if derived != int.from_bytes(wallet.private_key, "big"):
            raise Rejected("phrase", "the phrase is another key's")
    return wallet


def aad(user_id: str, wallet_address: str, version: bytes) -> bytes:
    """The associated data of a row."""
    user, address = user_id.encode("utf-8"), wallet_address.encode("utf-8")
    return b"".join(
        (
            b"kms-service/seed" + version,
            len(user).to_bytes(2, "big"),
            user,
            len(address).to_bytes(2, "big"),
            address,
        )
    )


def _decrypt(dek: bytes, encrypted_seed: bytes, associated: bytes) -> bytes:
    if len(dek) != 32:
        raise Rejected("envelope", "the DEK is not 32 bytes")
    version, nonce, rest = encrypted_seed[:1], encrypted_seed[1:13], encrypted_seed[13:]
    if version not in (b"\x01", b"\x02") or len(rest) < 16:
        raise Rejected("envelope", "the layout is unknown")
    cipher = AES.new(dek, AES.MODE_GCM, nonce=nonce, mac_len=16)
    cipher.update(associated)
    try:
        return cipher.decrypt_and_verify(rest[:-16], rest[-16:])
    except ValueError:
        raise Rejected("envelope", "the tag does not hold") from None


def _key_and_text(plaintext: bytes) -> tuple[int, str | None]:
    if len(plaintext) < 32:
        raise Rejected("contents", "no key")
    key = int.from_bytes(plaintext[:32], "big")
    if not 0 < key < _N:
        raise Rejected("contents", "the key is out of range")
    try:
        return key, plaintext[32:].decode("utf-8") or None
    except UnicodeDecodeError:
        raise Rejected("contents", "no text") from None


def _phrase(plaintext: bytes, lengths: set[int]) -> str:
    try:
        phrase = plaintext.decode("utf-8")
    except UnicodeDecodeError:
        raise Rejected("contents", "no text") from None
    raw = resources.files("mnemonic").joinpath("wordlist/english.txt").read_bytes()
    if hashlib.sha256(raw).hexdigest() != _WORD_LIST_SHA256:
        raise Rejected("contents", "the word list is not BIP-39's")
    numbers = {word: number for number, word in enumerate(raw.decode("ascii").split())}
    words = phrase.split(" ")
    if len(words) not in lengths or not all(word in numbers for word in words):
        raise Rejected("contents", "not English words in a right number")
    bits = "".join(f"{numbers[word]:011b}" for word in words)
    cut = len(bits) * 32 // 33
    entropy = int(bits[:cut], 2).to_bytes(cut // 8, "big")
    if f"{hashlib.sha256(entropy).digest()[0]:08b}"[: len(bits) - cut] != bits[cut:]:
        raise Rejected("contents", "the checksum of the phrase is wrong")
    return phrase


def _derive(phrase: str) -> int:
    """The private key at m/44'/60'/0'/0/0."""
    seed = hashlib.pbkdf2_hmac("sha512", phrase.encode("ascii"), b"mnemonic", 2048)
    block = hmac.digest(b"Bitcoin seed", seed, "sha512")
    key, chain = int.from_bytes(block[:32], "big"), block[32:]
    for index, hardened in ((44, True), (60, True), (0, True), (0, False), (0, False)):
        data = b"\x00" + key.to_bytes(32, "big") if hardened else _compress(_times_base(key))
        number = index + 0x80000000 if hardened else index
        block = hmac.digest(chain, data + number.to_bytes(4, "big"), "sha512")
        key, chain = (int.from_bytes(block[:32], "big") + key) % _N, block[32:]
    return key


def _address(point: Point) -> str:
    if point is None:
        raise Rejected("contents", "the key is zero")
    public = point[0].to_bytes(32, "big") + point[1].to_bytes(32, "big")
    plain = _keccak256(public)[12:].hex()
    mask = _keccak256(plain.encode("ascii")).hex()
    return "0x" + "".join(a.upper() if b in "89abcdef" else a for a, b in zip(plain, mask[:40], strict=True))


def _keccak256(data: bytes) -> bytes:
    return keccak.new(digest_bits=256, data=data).digest()


def _compress(point: Point) -> bytes:
    if point is None:
        raise Rejected("contents", "the key is zero")
    return bytes([2 + (point[1] & 1)]) + point[0].to_bytes(32, "big")


def _times_base(scalar: int) -> Point:
    """Add up what is doubled once for all scalars."""
    total: Point = None
    for bit, point in enumerate(_doubled_bases()):
        if scalar >> bit & 1:
            total = _plus(total, point)
    return total


@cache
def _doubled_bases() -> list[Point]:
    """The base point times 1, 2, 4 … 2^255."""
    points: list[Point] = [_G]
    while len(points) < _BITS:
        points.append(_plus(points[-1], points[-1]))
    return points


def _plus(left: Point, right: Point) -> Point:
    if left is None or right is None:
        return left or right
    (x1, y1), (x2, y2) = left, right
    if x1 == x2 and (y1 + y2) % _P == 0:
        return None
    slope = 3 * x1 * x1 * pow(2 * y1, -1, _P) if left == right else (y2 - y1) * pow(x2 - x1, -1, _P)
    x3 = (slope * slope - x1 - x2) % _P
    return x3, (slope * (x1 - x3) - y1) % _P
