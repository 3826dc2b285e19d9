"""The operations that use key material: Encrypt, Decrypt, ReEncrypt, GenerateDataKey."""

import os

from kms_service.local.kms.keys import Key, KeyStore, Material
from kms_service.local.kms.protocol import KmsError, Params, Result, decode_blob, encode_blob

_ALGORITHM = "SYMMETRIC_DEFAULT"
_PLAINTEXT_LIMIT = 4096


def encrypt(store: KeyStore, params: Params) -> Result:
    """Encrypt: 1 to 4096 bytes under an enabled key."""
    key = _usable(store, params["KeyId"])
    plaintext = decode_blob(params, "Plaintext")
    if not 1 <= len(plaintext) <= _PLAINTEXT_LIMIT:
        raise KmsError("ValidationException", "Value at 'plaintext' failed to satisfy constraint")
    _stop_if_dry(params)
    blob = key.wrap(plaintext, params.get("EncryptionContext") or {})
    return {"CiphertextBlob": encode_blob(blob), "KeyId": key.arn, "EncryptionAlgorithm": _ALGORITHM}


def decrypt(store: KeyStore, params: Params) -> Result:
    """Decrypt: the key is found from the blob; a `KeyId` must be that key."""
    if _ciphertext_ignored(params):
        _usable(store, params["KeyId"])
        _stop_if_dry(params)
    key, plaintext, material = _open(store, params, "KeyId", "EncryptionContext")
    _stop_if_dry(params)
    return {
        "KeyId": key.arn,
        "Plaintext": encode_blob(plaintext),
        "EncryptionAlgorithm": _ALGORITHM,
        "KeyMaterialId": material.id,
    }


def re_encrypt(store: KeyStore, params: Params) -> Result:
    """ReEncrypt: opened under the source key and context, sealed under the destination's."""
    destination = _usable(store, params["DestinationKeyId"])
    if _ciphertext_ignored(params):
        _usable(store, params["SourceKeyId"])
        _stop_if_dry(params)
    source, plaintext, material = _open(store, params, "SourceKeyId", "SourceEncryptionContext")
    _stop_if_dry(params)
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
    _stop_if_dry(params)
    plaintext = os.urandom(params.get("NumberOfBytes") or sizes[params["KeySpec"]])
    blob = key.wrap(plaintext, params.get("EncryptionContext") or {})
    return {
        "CiphertextBlob": encode_blob(blob),
        "Plaintext": encode_blob(plaintext),
        "KeyId": key.arn,
        "KeyMaterialId": key.materials[-1].id,
    }


def _usable(store: KeyStore, identifier: str) -> Key:
    key = store.find(identifier)
    key.require(enabled=True)
    return key


def _open(store: KeyStore, params: Params, key_name: str, context_name: str) -> tuple[Key, bytes, Material]:
    blob = decode_blob(params, "CiphertextBlob")
    named = store.find(params[key_name]) if params.get(key_name) else None
    key, _ = store.maker(blob)
    if named is not None and named is not key:
        message = "The key ID in the request does not identify a CMK that can perform this operation."
        raise KmsError("IncorrectKeyException", message)
    key.require(enabled=True)
    plaintext, material = store.unwrap(blob, params.get(context_name) or {})
    return key, plaintext, material


def _ciphertext_ignored(params: Params) -> bool:
    """Whether only the permission is asked about; that is allowed in a dry run alone."""
    if "IGNORE_CIPHERTEXT" not in (params.get("DryRunModifiers") or ()):
        return False
    if not params.get("DryRun"):
        raise KmsError("ValidationException", "DryRunModifiers can only be specified when DryRun is true")
    return True


def _stop_if_dry(params: Params) -> None:
    if params.get("DryRun"):
        message = "The request would have succeeded, but the DryRun option is set."
        raise KmsError("DryRunOperationException", message)
