"""Reads other services' encrypted phrases: recognises their layout and decrypts. Text in, phrase out, no I/O.

All are AES-256-GCM without associated data. A wrong guess at the layout does no harm: the tag does not hold,
and the address would differ. A format without a tag is refused by name and never decrypted: whoever can write
such a row can choose what it decrypts to.
"""

import binascii
import json
import re
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from kms_service.crypto.material import DataKey, Mnemonic
from kms_service.errors import KmsServiceError

IV_BYTES = (12, 16)
TAG_BYTES = 16
_SHORT_IV = 12
_PARTS = 3
_HEX = re.compile(r"(?:[0-9A-Fa-f]{2})+", re.ASCII)
_WORDS = re.compile(r"[a-z]{3,8}(?: [a-z]{3,8}){11,23}", re.ASCII)


class Unreadable(KmsServiceError):
    """A row of another service that cannot be opened; `reason` says why, in words of this code."""

    code = "unreadable"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Layout(Enum):
    """How an encrypted phrase is written down."""

    AUTO = "auto"
    HEX_PARTS = "hex-iv-tag-ct"
    BASE64_TAG_FIRST = "base64-iv-tag-ct"
    BASE64_TAG_LAST = "base64-iv-ct-tag"
    BASE64_PARTS = "base64-parts"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class GcmParts:
    """One way to read a text: initialisation vector of 12 or 16 bytes, tag of 16 bytes, ciphertext."""

    iv: bytes
    tag: bytes
    ciphertext: bytes

    @property
    def whole(self) -> bool:
        """Whether the parts have the lengths of an AES-GCM message."""
        return len(self.iv) in IV_BYTES and len(self.tag) == TAG_BYTES and bool(self.ciphertext)

    def open(self, key: DataKey) -> bytes | None:
        """The plaintext, a secret that the caller owns; None if the tag does not hold under this key."""
        try:
            return AESGCM(key.reveal()).decrypt(self.iv, self.ciphertext + self.tag, None)
        except InvalidTag:
            return None


def open_phrase(text: str, dek: DataKey, layout: Layout) -> Mnemonic:
    """The phrase encrypted in `text`. The caller owns the secret, and must check its words and checksum.

    Args:
        text: the column as stored.
        dek: the row's data key.
        layout: the text's layout; AUTO tries every layout.

    Raises:
        Unreadable: the text is not in this layout, or its tag does not hold.
    """
    readings = readings_of(text, layout)
    for parts in readings:
        plaintext = parts.open(dek)
        if plaintext is not None:
            return _phrase(plaintext)
    raise Unreadable("the tag of the encrypted phrase is wrong")


def readings_of(text: str, layout: Layout) -> list[GcmParts]:
    """Every way to read a text in this layout.

    Raises:
        Unreadable: there is none; the reason names the format if it is a known one.
    """
    _refuse_by_name(text)
    chosen = _READERS.values() if layout is Layout.AUTO else (_READERS[layout],)
    readings = [parts for read in chosen for parts in read(text) if parts.whole]
    if not readings:
        raise Unreadable(f"the encrypted phrase is not in the layout {layout.value}")
    return readings


def hex_parts(text: str) -> Iterator[GcmParts]:
    """`hex(iv):hex(tag):hex(ciphertext)`."""
    parts = text.split(":")
    if len(parts) == _PARTS and all(_HEX.fullmatch(part) for part in parts):
        yield GcmParts(*(bytes.fromhex(part) for part in parts))


def _tag_first(text: str) -> Iterator[GcmParts]:
    data = _base64(text)
    if data is not None:
        behind = _SHORT_IV + TAG_BYTES
        yield GcmParts(data[:_SHORT_IV], data[_SHORT_IV:behind], data[behind:])


def _tag_last(text: str) -> Iterator[GcmParts]:
    data = _base64(text)
    if data is not None:
        yield GcmParts(data[:_SHORT_IV], data[-TAG_BYTES:], data[_SHORT_IV:-TAG_BYTES])


def _base64_parts(text: str) -> Iterator[GcmParts]:
    bare = text.removeprefix("v1:").removeprefix("v1.")
    for separator in (":", "."):
        parts = [_base64(part) for part in bare.split(separator)]
        if len(parts) == _PARTS and all(parts):
            first, second, third = (part or b"" for part in parts)
            yield GcmParts(first, second, third)
            yield GcmParts(first, third, second)


def _json(text: str) -> Iterator[GcmParts]:
    members = _members(text)
    parts = [_base64(members.get(name)) for name in ("iv", "authTag", "ciphertext")]
    if all(parts):
        yield GcmParts(*(part or b"" for part in parts))


_READERS: Mapping[Layout, Callable[[str], Iterator[GcmParts]]] = {
    Layout.HEX_PARTS: hex_parts,
    Layout.BASE64_TAG_FIRST: _tag_first,
    Layout.BASE64_TAG_LAST: _tag_last,
    Layout.BASE64_PARTS: _base64_parts,
    Layout.JSON: _json,
}


def _refuse_by_name(text: str) -> None:
    members = _members(text)
    parts = text.split(":")
    cbc = len(parts) == 2 and all(_HEX.fullmatch(part) or _base64(part) for part in parts)  # noqa: PLR2004 # iv:ct
    for is_that, name in (
        (text.startswith(("U2FsdGVkX1", "Salted__")), "OpenSSL's Salted__ format"),
        ("crypto" in members or "Crypto" in members, "a keystore file"),
        (cbc, "AES-CBC as iv:ciphertext"),
    ):
        if is_that:
            raise Unreadable(f"the encrypted phrase is {name}, which is not AES-GCM")
    if _WORDS.fullmatch(text.strip()):
        raise Unreadable("the phrase is stored unencrypted: anybody who read that table knows the wallet")


def _phrase(plaintext: bytes) -> Mnemonic:
    try:
        return Mnemonic(plaintext.decode())
    except UnicodeDecodeError:
        # from None: a decoding error carries the plaintext.
        raise Unreadable("what was decrypted is not text") from None


def _members(text: str) -> Mapping[str, Any]:
    if not text.lstrip().startswith("{"):
        return {}
    try:
        members = json.loads(text)
    except ValueError:
        return {}
    return members if isinstance(members, dict) else {}


def _base64(text: object) -> bytes | None:
    try:
        return b64decode(text, validate=True) if isinstance(text, str) else None
    except (binascii.Error, ValueError):
        return None
