"""Encrypts a key or phrase for its import (HPKE, RFC 9180): nothing in between can read it."""

from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from pyhpke import AEADId, CipherSuite, KDFId, KEMId

_INFO = b"kms-service/wallet-import/v1"


@dataclass(frozen=True, slots=True)
class ImportOffer:
    """A public key of the service (X25519), valid for one import within 15 minutes."""

    import_id: str
    recipient_public_key: bytes

    @classmethod
    def read(cls, answer: Mapping[str, Any]) -> Self:
        """The offer of an answer.

        Raises:
            KeyError, TypeError, ValueError: it is not one.
        """
        return cls(answer["importId"], b64decode(answer["recipientPublicKey"]))

    def seal(self, secret: bytes | str, user_id: str) -> dict[str, str]:
        """Encrypt a private key (32 bytes) or a phrase to the service, for this user only.

        The caller owns the secret, and should forget it once the wallet exists.
        """
        suite = CipherSuite.new(KEMId.DHKEM_X25519_HKDF_SHA256, KDFId.HKDF_SHA256, AEADId.CHACHA20_POLY1305)
        recipient = suite.kem.deserialize_public_key(self.recipient_public_key)
        encapsulated_key, context = suite.create_sender_context(recipient, _INFO)
        ciphertext = context.seal(secret.encode() if isinstance(secret, str) else secret, user_id.encode())
        return {
            "importId": self.import_id,
            "encapsulatedKey": b64encode(encapsulated_key).decode(),
            "ciphertext": b64encode(ciphertext).decode(),
        }
