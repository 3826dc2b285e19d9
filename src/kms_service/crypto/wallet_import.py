"""The encrypted import of a wallet: HPKE to a key of ours, the export mirrored. Bytes in, bytes out, no I/O.

RFC 9180 in base mode: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20-Poly1305. The plaintext is the 32 raw
bytes of a private key, or a phrase in UTF-8; the user id is the associated data, so that nobody can have
another user get what was encrypted for one. No phrase has 32 bytes: the shortest words make 47.
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
    """What came was not encrypted to this key for this user, or holds neither a key nor text.

    The message names which, and nothing of what was encrypted.
    """


def new_recipient() -> DataKey:
    """A fresh X25519 private key, 32 bytes. The caller owns the secret, and has it wrapped as a DEK is."""
    return DataKey(X25519PrivateKey.generate().private_bytes_raw())


def public_key_of(recipient: DataKey) -> bytes:
    """The public half, 32 bytes: what callers encrypt to."""
    return X25519PrivateKey.from_private_bytes(recipient.reveal()).public_key().public_bytes_raw()


def open_import(
    recipient: DataKey, *, encapsulated_key: bytes, ciphertext: bytes, user_id: str
) -> PrivateKey | Mnemonic:
    """What a caller encrypted to `recipient` for this user. The caller of this owns the secret.

    Neither the phrase's checksum nor the key's range is looked at here.

    Raises:
        UnopenedImport: it does not open, or is neither 32 bytes nor a text as long as a phrase.
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
        # A point of low order is a ValueError; all causes have one answer.
        raise UnopenedImport("was not encrypted to this import's key for this user") from None
