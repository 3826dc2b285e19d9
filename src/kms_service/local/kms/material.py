"""The secrets of symmetric keys, and the ciphertext blobs made with them."""

import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from kms_service.local.kms.protocol import KmsError

# Blobs of symmetric KMS keys begin like this (base64 "AQICAHh"); all else in them is opaque to callers.
_MAGIC = b"\x01\x02\x02\x00\x78"
_DIGEST = 32
_FILLER = 87  # a wrapped 32-byte DEK is then 184 bytes, as it is in AWS
_NONCE = 12
_TAG = 16
_HEAD = len(_MAGIC) + _DIGEST + _FILLER

# moto's own layout, in which this stand-in once answered: key id, nonce, tag, ciphertext.
_OLD_KEY_ID = 36
_OLD_HEAD = _OLD_KEY_ID + _NONCE + _TAG


@dataclass(frozen=True)
class Material:
    """One version of a key's secret; a blob is bound to the version that made it.

    Attributes:
        secret: 32 bytes, an AES-256 key.
        rotated: when it replaced the version before it, in seconds since 1970; `None` for a key's first.
    """

    secret: bytes = field(default_factory=lambda: os.urandom(32), repr=False)
    rotated: float | None = None

    @property
    def id(self) -> str:
        """What KMS calls the `KeyMaterialId`: 64 hex digits."""
        return self.digest.hex()

    @cached_property
    def digest(self) -> bytes:
        """The id as bytes: it is in each blob, and reveals nothing about the secret."""
        return sha256(self.secret).digest()

    @cached_property
    def _cipher(self) -> AESGCM:
        return AESGCM(self.secret)

    def wrap(self, plaintext: bytes, context: Mapping[str, str]) -> bytes:
        """Encrypt; the context and the blob's own head are authenticated."""
        head, nonce = _MAGIC + self.digest + os.urandom(_FILLER), os.urandom(_NONCE)
        return head + nonce + self._cipher.encrypt(nonce, plaintext, head + _canonical(context))

    def unwrap(self, blob: bytes, context: Mapping[str, str]) -> bytes:
        """Decrypt what `wrap` made, or what an earlier release did.

        Raises:
            KmsError: InvalidCiphertextException, for any damage or another context.
        """
        try:
            if blob.startswith(_MAGIC):
                head, nonce, encrypted = blob[:_HEAD], blob[_HEAD : _HEAD + _NONCE], blob[_HEAD + _NONCE :]
                return self._cipher.decrypt(nonce, encrypted, head + _canonical(context))
            nonce, tag = blob[_OLD_KEY_ID : _OLD_KEY_ID + _NONCE], blob[_OLD_HEAD - _TAG : _OLD_HEAD]
            return self._cipher.decrypt(nonce, blob[_OLD_HEAD:] + tag, _old_canonical(context))
        except InvalidTag:
            raise KmsError("InvalidCiphertextException") from None


def digest_in(blob: bytes) -> bytes | None:
    """The digest of the material that made this blob; `None` if `wrap` did not make it."""
    if not blob.startswith(_MAGIC) or len(blob) <= _HEAD + _NONCE + _TAG:
        return None
    return blob[len(_MAGIC) : len(_MAGIC) + _DIGEST]


def old_key_id_in(blob: bytes) -> str | None:
    """The id of the key that made this blob in an earlier release; `None` if none can have."""
    named = blob[:_OLD_KEY_ID]
    return named.decode() if len(blob) > _OLD_HEAD and named.isascii() else None


def _canonical(context: Mapping[str, str]) -> bytes:
    """The context as bytes: order does not matter to KMS, case and every character do."""
    parts = [part.encode() for item in sorted(context.items()) for part in item]
    return b"".join(struct.pack(">I", len(part)) + part for part in parts)


def _old_canonical(context: Mapping[str, str]) -> bytes:
    return "".join(name + value for name, value in sorted(context.items())).encode()
