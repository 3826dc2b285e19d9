"""Reads the ported service's wrapped data keys: by KMS, or by its environment key. Text in, no I/O."""

import binascii
import json
import re
from base64 import b64decode
from dataclasses import dataclass

from kms_service.crypto.material import DEK_BYTES, DataKey
from kms_service.service.adoption.encrypted_phrase import GcmParts, Unreadable, hex_parts

_KEY = re.compile(
    r"(?:arn:aws[a-z-]*:kms:[a-z0-9-]+:\d{12}:key/)?(?:mrk-[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})",
    re.ASCII,
)
_LONGEST_BLOB = 6144


@dataclass(frozen=True, slots=True)
class UnderKms:
    """A data key that KMS wrapped without a context: the key's id or ARN, and the `CiphertextBlob`."""

    key: str
    blob: bytes


@dataclass(frozen=True, slots=True)
class UnderEnvironmentKey:
    """A data key from before KMS was used, encrypted under a key from the environment (`MASTER_KEK`)."""

    parts: GcmParts

    def open(self, master: DataKey) -> DataKey:
        """The data key; it is encrypted as 32 bytes or as their hex digits. The caller owns the secret.

        Raises:
            Unreadable: this is the wrong key, or what it decrypts is not a data key.
        """
        plaintext = self.parts.open(master)
        if plaintext is None:
            raise Unreadable("the data key does not open under the given MASTER_KEK")
        if len(plaintext) == 2 * DEK_BYTES:
            try:
                plaintext = binascii.unhexlify(plaintext)
            except binascii.Error:
                raise Unreadable("what MASTER_KEK decrypts is not a data key") from None
        if len(plaintext) != DEK_BYTES:
            raise Unreadable("what MASTER_KEK decrypts is not a data key")
        return DataKey(plaintext)


def read_wrapped(text: str, kms_key_id: str | None) -> UnderKms | UnderEnvironmentKey:
    """How a row's data key is wrapped.

    Args:
        text: the column `encrypted_dek`: JSON with the blob and its key, the blob alone in base64, or three
            parts in hex.
        kms_key_id: the column of that name, which counts only if the text names no key.

    Raises:
        Unreadable: the text is none of these, or no key is named.
    """
    for parts in hex_parts(text):
        if parts.whole:
            return UnderEnvironmentKey(parts)
    encoded, key = _parse_json(text) if text.lstrip().startswith("{") else (text, kms_key_id)
    if not isinstance(key or kms_key_id, str) or not _KEY.fullmatch(key or kms_key_id or ""):
        raise Unreadable("the row names no KMS key")
    try:
        blob = b64decode(encoded, validate=True)
    except (binascii.Error, ValueError, TypeError):
        raise Unreadable("the wrapped data key is in no known layout") from None
    if not 0 < len(blob) <= _LONGEST_BLOB:
        raise Unreadable("the wrapped data key is in no known layout")
    return UnderKms(key or kms_key_id or "", blob)


def _parse_json(text: str) -> tuple[str, str | None]:
    try:
        members = json.loads(text)
        return members["encryptedData"], members.get("kmsKeyId")
    except (ValueError, KeyError, AttributeError, TypeError):
        raise Unreadable("the wrapped data key is in no known layout") from None
