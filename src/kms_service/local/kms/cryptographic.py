"""The operations that use a key: Encrypt, Decrypt, ReEncrypt, GenerateDataKey; Sign, Verify, GetPublicKey.

moto takes no part in the first four: a benchmark would measure moto, which also serves keys in any state,
really performs dry runs, and answers a wrong key as a denied one.
"""

import os
from typing import TYPE_CHECKING, Final, cast

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, HashAlgorithm

from kms_service.local.kms.keys import ENCRYPTION, Key, KeyStore
from kms_service.local.kms.material import Material
from kms_service.local.kms.protocol import KmsError, Params, Result, decode_blob, encode_blob, stop_if_dry

if TYPE_CHECKING:
    from moto.kms.utils import ECDSAPrivateKey

_ALGORITHM = "SYMMETRIC_DEFAULT"
_PLAINTEXT_LIMIT = 4096
_SIGNING = "SIGN_VERIFY"
_HASHES: Final[dict[str, HashAlgorithm]] = {
    "ECDSA_SHA_256": SHA256(),
    "ECDSA_SHA_384": SHA384(),
    "ECDSA_SHA_512": SHA512(),
}


def encrypt(store: KeyStore, params: Params) -> Result:
    """Encrypt: 1 to 4096 bytes under an enabled key."""
    key = _usable(store, params["KeyId"])
    plaintext = decode_blob(params, "Plaintext")
    if not 1 <= len(plaintext) <= _PLAINTEXT_LIMIT:
        raise KmsError("ValidationException", "Value at 'plaintext' failed to satisfy constraint")
    stop_if_dry(params)
    blob = key.wrap(plaintext, params.get("EncryptionContext") or {})
    return {"CiphertextBlob": encode_blob(blob), "KeyId": key.arn, "EncryptionAlgorithm": _ALGORITHM}


def decrypt(store: KeyStore, params: Params) -> Result:
    """Decrypt: the key is found from the blob; a `KeyId` must be that key."""
    if _ciphertext_ignored(params):
        _usable(store, params["KeyId"])
        stop_if_dry(params)
    key, plaintext, material = _open(store, params, "KeyId", "EncryptionContext")
    stop_if_dry(params)
    return {
        "KeyId": key.arn,
        "Plaintext": encode_blob(plaintext),
        "EncryptionAlgorithm": _ALGORITHM,
        "KeyMaterialId": material.id,
    }


def re_encrypt(store: KeyStore, params: Params) -> Result:
    """ReEncrypt: opened under the source key and context, encrypted under the destination's."""
    destination = _usable(store, params["DestinationKeyId"])
    if _ciphertext_ignored(params):
        _usable(store, params["SourceKeyId"])
        stop_if_dry(params)
    source, plaintext, material = _open(store, params, "SourceKeyId", "SourceEncryptionContext")
    stop_if_dry(params)
    blob = destination.wrap(plaintext, params.get("DestinationEncryptionContext") or {})
    return {
        "CiphertextBlob": encode_blob(blob),
        "KeyId": destination.arn,
        "SourceKeyId": source.arn,
        "SourceEncryptionAlgorithm": _ALGORITHM,
        "DestinationEncryptionAlgorithm": _ALGORITHM,
        "SourceKeyMaterialId": material.id,
        "DestinationKeyMaterialId": destination.materials[-1].id,
    }


def generate_data_key(store: KeyStore, params: Params) -> Result:
    """GenerateDataKey: a fresh DEK, in the clear and wrapped."""
    key = _usable(store, params["KeyId"])
    sizes = {"AES_128": 16, "AES_256": 32}
    if ("KeySpec" in params) == ("NumberOfBytes" in params):
        raise KmsError("ValidationException", "Please specify either number of bytes or key spec.")
    stop_if_dry(params)
    plaintext = os.urandom(params.get("NumberOfBytes") or sizes[params["KeySpec"]])
    material = key.materials[-1]
    blob = material.wrap(plaintext, params.get("EncryptionContext") or {})
    return {
        "CiphertextBlob": encode_blob(blob),
        "Plaintext": encode_blob(plaintext),
        "KeyId": key.arn,
        "KeyMaterialId": material.id,
    }


def generate_data_key_without_plaintext(store: KeyStore, params: Params) -> Result:
    """GenerateDataKeyWithoutPlaintext: a fresh DEK, wrapped alone."""
    made = generate_data_key(store, params)
    return {name: value for name, value in made.items() if name != "Plaintext"}


def _usable(store: KeyStore, identifier: str) -> Key:
    key = store.find(identifier)
    key.require(enabled=True)
    if key.kept.key_usage != ENCRYPTION:
        raise KmsError("InvalidKeyUsageException", f"{key.arn} key usage is {key.kept.key_usage}")
    return key


def _open(store: KeyStore, params: Params, key_name: str, context_name: str) -> tuple[Key, bytes, Material]:
    blob = decode_blob(params, "CiphertextBlob")
    named = store.find(params[key_name]) if params.get(key_name) else None
    key, material = store.maker(blob)
    if named is not None and named is not key:
        message = "The key ID in the request does not identify a CMK that can perform this operation."
        raise KmsError("IncorrectKeyException", message)
    key.require(enabled=True)
    return key, material.unwrap(blob, params.get(context_name) or {}), material


def _ciphertext_ignored(params: Params) -> bool:
    """Whether only the permission is asked about; that is allowed in a dry run alone."""
    if "IGNORE_CIPHERTEXT" not in (params.get("DryRunModifiers") or ()):
        return False
    if not params.get("DryRun"):
        raise KmsError("ValidationException", "DryRunModifiers can only be specified when DryRun is true")
    return True


def sign(store: KeyStore, params: Params) -> Result:
    """Sign: a message or a digest; moto would hash a digest a second time."""
    key = _signing(store, params)
    message, hashed = decode_blob(params, "Message"), _choose_hash(key, params)
    stop_if_dry(params)
    signature = _secret(key).sign(message, ec.ECDSA(hashed))
    algorithm = params["SigningAlgorithm"]
    return {"KeyId": key.arn, "Signature": encode_blob(signature), "SigningAlgorithm": algorithm}


def verify(store: KeyStore, params: Params) -> Result:
    """Verify: as `sign`; a wrong signature is an error, as in KMS."""
    key = _signing(store, params)
    message, hashed = decode_blob(params, "Message"), _choose_hash(key, params)
    stop_if_dry(params)
    try:
        _secret(key).public_key().verify(decode_blob(params, "Signature"), message, ec.ECDSA(hashed))
    except InvalidSignature:
        raise KmsError("KMSInvalidSignatureException") from None
    return {"KeyId": key.arn, "SignatureValid": True, "SigningAlgorithm": params["SigningAlgorithm"]}


def get_public_key(store: KeyStore, params: Params) -> Result:
    """GetPublicKey: DER, of an enabled key to sign with."""
    key = _signing(store, params)
    answer = store.ask_moto("GetPublicKey", {"KeyId": key.id})
    answer |= {"KeyId": key.arn, "KeySpec": key.kept.key_spec}
    return {name: value for name, value in answer.items() if value is not None}


def _signing(store: KeyStore, params: Params) -> Key:
    key = store.find(params["KeyId"])
    key.require(enabled=True)
    if key.kept.key_usage != _SIGNING:
        raise KmsError("InvalidKeyUsageException", f"{key.arn} key usage is {key.kept.key_usage}")
    return key


def _secret(key: Key) -> ec.EllipticCurvePrivateKey:
    return cast("ECDSAPrivateKey", key.kept.private_key).private_key  # no other is made


def _choose_hash(key: Key, params: Params) -> HashAlgorithm | Prehashed:
    """How the message is hashed; a digest already is."""
    if params["SigningAlgorithm"] not in key.kept.signing_algorithms:
        raise KmsError("InvalidKeyUsageException", f"{key.arn} does not sign so.")
    algorithm = _HASHES[params["SigningAlgorithm"]]
    if params.get("MessageType", "RAW") == "RAW":
        return algorithm
    if len(decode_blob(params, "Message")) != algorithm.digest_size:
        raise KmsError("ValidationException", "Digest is invalid length for algorithm.")
    return Prehashed(algorithm)
