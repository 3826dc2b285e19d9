"""KMS keys: their states, aliases and material, and the ciphertext blobs made under them."""

import hashlib
import json
import os
import struct
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

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


@dataclass(frozen=True)
class Material:
    """One version of a key's secret; a blob is bound to the version that made it."""

    id: str = field(default_factory=lambda: os.urandom(32).hex())
    secret: bytes = field(default_factory=lambda: os.urandom(32), repr=False)
    rotated: float | None = None


@dataclass
class Key:
    """A customer managed key, with everything its describing operations answer."""

    arn: str
    description: str
    policy: str
    tags: dict[str, str]
    state: str = "Enabled"
    created: float = field(default_factory=time.time)
    materials: list[Material] = field(default_factory=lambda: [Material()])
    rotation_period: int | None = None
    rotation_enabled_at: float = 0.0
    deletion_date: float | None = None

    @property
    def id(self) -> str:
        """The key id: the last part of the ARN."""
        return self.arn.rpartition("/")[2]

    def require(self, *, enabled: bool) -> None:
        """Refuse as KMS does in this key's state.

        Raises:
            KmsError: KMSInvalidStateException when pending deletion; DisabledException if `enabled` is asked.
        """
        if self.state == "PendingDeletion":
            raise KmsError("KMSInvalidStateException", f"{self.arn} is pending deletion.")
        if enabled and self.state == "Disabled":
            raise KmsError("DisabledException", f"{self.arn} is disabled.")

    def wrap(self, plaintext: bytes, context: Mapping[str, str]) -> bytes:
        """Encrypt under the current material; the context and the blob's own head are authenticated."""
        material, nonce = self.materials[-1], os.urandom(_NONCE)
        head = _MAGIC + _digest(material) + os.urandom(_FILLER)
        sealed = AESGCM(material.secret).encrypt(nonce, plaintext, head + _canonical(context))
        return head + nonce + sealed


class KeyStore:
    """All keys and aliases of one account and region."""

    def __init__(self, *, region: str, account: str) -> None:
        self.region = region
        self.account = account
        self.keys: dict[str, Key] = {}
        self.aliases: dict[str, str] = {}
        self.alias_dates: dict[str, float] = {}

    def arn(self, resource: str) -> str:
        """The ARN of `key/…` or `alias/…` here."""
        return f"arn:aws:kms:{self.region}:{self.account}:{resource}"

    def create(self, description: str = "", policy: str = "", tags: Mapping[str, str] | None = None) -> Key:
        """Add an enabled key; without a policy it gets the one that KMS gives by default."""
        arn = self.arn(f"key/{uuid.uuid4()}")
        key = Key(arn, description, policy or self._default_policy(), dict(tags or {}))
        self.keys[arn] = key
        return key

    def set_alias(self, name: str, key: Key) -> None:
        """Point `alias/…` at the key."""
        self.aliases[name] = key.arn
        self.alias_dates[name] = time.time()

    def find(self, identifier: str, *, by_alias: bool = True) -> Key:
        """The key of a key id, key ARN or, unless told otherwise, alias name or alias ARN.

        Raises:
            KmsError: NotFoundException.
        """
        prefix = self.arn("")
        name = identifier.removeprefix(prefix)
        if name.startswith("arn:"):
            raise KmsError("NotFoundException", f"Invalid arn {identifier.split(':')[3]}")
        if name.startswith("alias/"):
            if by_alias and name in self.aliases:
                return self.keys[self.aliases[name]]
            raise KmsError("NotFoundException", f"Alias {prefix}{name} is not found.")
        arn = f"{prefix}key/{name.removeprefix('key/')}"
        if arn not in self.keys:
            raise KmsError("NotFoundException", f"Key '{arn}' does not exist")
        return self.keys[arn]

    def maker(self, blob: bytes) -> tuple[Key, Material]:
        """The key and the material that made this blob, found from the blob alone.

        Raises:
            KmsError: InvalidCiphertextException, also when the key is gone.
        """
        digest = blob[len(_MAGIC) : len(_MAGIC) + _DIGEST]
        if blob.startswith(_MAGIC) and len(blob) > _HEAD + _NONCE + _TAG:
            for key in self.keys.values():
                for material in key.materials:
                    if _digest(material) == digest:
                        return key, material
        raise KmsError("InvalidCiphertextException")

    def unwrap(self, blob: bytes, context: Mapping[str, str]) -> tuple[bytes, Material]:
        """Decrypt a blob.

        Raises:
            KmsError: InvalidCiphertextException, for any damage or another context.
        """
        _, material = self.maker(blob)
        head, nonce, sealed = blob[:_HEAD], blob[_HEAD : _HEAD + _NONCE], blob[_HEAD + _NONCE :]
        try:
            return AESGCM(material.secret).decrypt(nonce, sealed, head + _canonical(context)), material
        except InvalidTag:
            raise KmsError("InvalidCiphertextException") from None

    def _default_policy(self) -> str:
        root = {"AWS": f"arn:aws:iam::{self.account}:root"}
        statement = {"Sid": "Enable IAM User Permissions", "Effect": "Allow", "Principal": root}
        statement |= {"Action": "kms:*", "Resource": "*"}
        return json.dumps({"Version": "2012-10-17", "Id": "key-default-1", "Statement": [statement]})


def _digest(material: Material) -> bytes:
    return hashlib.sha256(material.id.encode()).digest()


def _canonical(context: Mapping[str, str]) -> bytes:
    """The context as bytes: order does not matter to KMS, case and every character do."""
    parts = [part.encode() for item in sorted(context.items()) for part in item]
    return b"".join(struct.pack(">I", len(part)) + part for part in parts)
