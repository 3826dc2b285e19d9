"""The encrypted import of a wallet: HPKE to a one-time key of ours. Bytes in, bytes out, no I/O.

RFC 9180 in base mode: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20-Poly1305, as for the export. The
plaintext is the 32 raw bytes of a private key, or a phrase in UTF-8; the two cannot be confused, since even
the shortest phrase has 47 bytes. The user id is the associated data, so that what was encrypted for one user
cannot be given to another.
"""

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from pyhpke import AEADId, CipherSuite, KDFId, KEMId
from pyhpke.exceptions import PyHPKEError

from kms_service.crypto.material import PRIVATE_KEY_BYTES, DataKey, Mnemonic, PrivateKey

INFO = b"kms-service/wallet-import/v1"
ENCAPSULATED_KEY_BYTES = 32
TAG_BYTES = 16
LONGEST_PHRASE_BYTES = 24 * 8 + 23


class UnopenedImport(ValueError):
    """The ciphertext was not made for this key and user, or holds neither a private key nor a phrase.

    The message says which, and nothing of what was encrypted.
    """


def new_recipient() -> DataKey:
    """A fresh X25519 private key, 32 bytes. The caller owns the secret, and has it wrapped like a DEK."""
    return DataKey(X25519PrivateKey.generate().private_bytes_raw())


def public_key_of(recipient: DataKey) -> bytes:
    """The public half, 32 bytes: what callers encrypt to."""
    return X25519PrivateKey.from_private_bytes(recipient.reveal()).public_key().public_bytes_raw()


def open_import(
    recipient: DataKey, *, encapsulated_key: bytes, ciphertext: bytes, user_id: str
) -> PrivateKey | Mnemonic:
    """The private key or phrase that was encrypted to `recipient` for this user. The caller owns the secret.

    The phrase's checksum and the key's range are not checked here.

    Raises:
        UnopenedImport: it does not open, or is neither 32 bytes nor text of a phrase's length.
    """
    plaintext = _decrypt(recipient, encapsulated_key, ciphertext, user_id)
    if len(plaintext) == PRIVATE_KEY_BYTES:
        return PrivateKey(plaintext)
    if len(plaintext) < PRIVATE_KEY_BYTES or len(plaintext) > LONGEST_PHRASE_BYTES:
        raise UnopenedImport("holds neither a private key of 32 bytes nor a phrase")
    try:
        return Mnemonic(plaintext.decode())
    except UnicodeDecodeError:
        # from None: a decoding error carries the plaintext.
        raise UnopenedImport("holds neither a private key of 32 bytes nor a phrase in UTF-8") from None


def _decrypt(recipient: DataKey, encapsulated_key: bytes, ciphertext: bytes, user_id: str) -> bytes:
    if len(encapsulated_key) != ENCAPSULATED_KEY_BYTES:
        raise UnopenedImport("has an encapsulated key that is not 32 bytes")
    suite = CipherSuite.new(KEMId.DHKEM_X25519_HKDF_SHA256, KDFId.HKDF_SHA256, AEADId.CHACHA20_POLY1305)
    try:
        private = suite.kem.deserialize_private_key(recipient.reveal())
        context = suite.create_recipient_context(encapsulated_key, private, INFO)
        return context.open(ciphertext, user_id.encode())
    except (PyHPKEError, InvalidTag, ValueError):
        # A point of low order is a ValueError. All causes get one answer, so that it is no oracle.
        raise UnopenedImport("was not encrypted to this import's key for this user") from None
