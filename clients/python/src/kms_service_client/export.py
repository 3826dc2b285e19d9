"""Opens exports: the key travels encrypted (HPKE, RFC 9180) to a key pair that lives for one call."""

from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from pyhpke import AEADId, CipherSuite, KDFId, KEMId, KEMKey
from pyhpke.exceptions import PyHPKEError

from kms_service_client.values import ExportedKey

_INFO = b"kms-service/private-key-export/v1"


class ExportRecipient:
    """A fresh X25519 key pair; its private half never leaves this object."""

    def __init__(self) -> None:
        self._key = X25519PrivateKey.generate()

    @property
    def public_key(self) -> str:
        """The public half, 32 bytes in base64."""
        return b64encode(self._key.public_key().public_bytes_raw()).decode()

    def open(self, answer: Mapping[str, Any]) -> ExportedKey:
        """Decrypt the key of an answer; it is bound to the address that the answer names.

        Raises:
            KeyError, TypeError, ValueError: it is not an export, or not one to this key.
        """
        suite = CipherSuite.new(KEMId.DHKEM_X25519_HKDF_SHA256, KDFId.HKDF_SHA256, AEADId.CHACHA20_POLY1305)
        key = KEMKey.from_pyca_cryptography_key(self._key)
        address: str = answer["walletAddress"]
        try:
            context = suite.create_recipient_context(b64decode(answer["encapsulatedKey"]), key, _INFO)
            opened = context.open(b64decode(answer["ciphertext"]), address.encode())
        except (PyHPKEError, InvalidTag):
            raise ValueError("the export does not open") from None
        return ExportedKey(address, opened)
