"""The encrypted export of a private key: HPKE to the caller's X25519 key. Bytes in, bytes out, no I/O.

RFC 9180 in base mode: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20-Poly1305. The plaintext is the 32 raw
bytes of the key. The wallet's address is the associated data, so that one wallet's export cannot be passed
off as another's.
"""

from dataclasses import dataclass

from pyhpke import AEADId, CipherSuite, KDFId, KEMId

from kms_service.crypto.material import PrivateKey

INFO = b"kms-service/private-key-export/v1"
_PUBLIC_KEY_BYTES = 32
_FIELD_PRIME = 2**255 - 19


class UnusableRecipientKey(ValueError):
    """Not a public key that an X25519 generator makes: wrong length, not reduced, or of low order."""


@dataclass(frozen=True, slots=True)
class EncryptedKey:
    """What the recipient gets: the encapsulated key (32 bytes), and the ciphertext with tag (48 bytes)."""

    encapsulated_key: bytes
    ciphertext: bytes


class ExportEncryption:
    """Encrypts one private key to one recipient. It refuses a bad public key when made, before any KMS call.

    Args:
        recipient_public_key: 32 bytes, X25519.

    Raises:
        UnusableRecipientKey: nothing can be encrypted to this key.
    """

    def __init__(self, recipient_public_key: bytes) -> None:
        suite = _suite()
        try:
            _check_form(recipient_public_key)
            recipient = suite.kem.deserialize_public_key(recipient_public_key)
            self._encapsulated_key, self._context = suite.create_sender_context(recipient, INFO)
        except ValueError:
            raise UnusableRecipientKey("is not a usable X25519 public key") from None

    def encrypt(self, private_key: PrivateKey, wallet_address: str) -> EncryptedKey:
        """The private key, encrypted to the recipient and bound to the wallet's EIP-55 address."""
        ciphertext = self._context.seal(private_key.reveal(), wallet_address.encode())
        return EncryptedKey(self._encapsulated_key, ciphertext)


def _suite() -> CipherSuite:
    return CipherSuite.new(KEMId.DHKEM_X25519_HKDF_SHA256, KDFId.HKDF_SHA256, AEADId.CHACHA20_POLY1305)


def _check_form(public_key: bytes) -> None:
    # RFC 7748 accepts unreduced keys too. But HPKE hashes the key's bytes, and the recipient has the reduced
    # ones: they could not open what was encrypted.
    if len(public_key) != _PUBLIC_KEY_BYTES or int.from_bytes(public_key, "little") >= _FIELD_PRIME:
        raise ValueError("not 32 bytes of a reduced coordinate")
