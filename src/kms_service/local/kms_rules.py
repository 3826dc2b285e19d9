"""Where AWS KMS answers otherwise than moto: key states, dry runs, wrong keys, rotation periods.

moto 5 serves disabled keys and keys that await deletion, performs a dry run, answers a wrong `KeyId` of
Decrypt with AccessDenied, and knows no rotation period and no key material ids. The rules here are those of
the AWS KMS API Reference and of 'Key states of AWS KMS keys' in its Developer Guide.
"""

import base64
import binascii
import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from moto.kms.models import Key, KmsBackend

_CRYPTOGRAPHIC: Final = frozenset(
    {"Encrypt", "Decrypt", "ReEncrypt", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext"}
)
_UNSUPPORTED: Final = frozenset(
    {"CreateGrant", "GetPublicKey", "Sign", "Verify", "GenerateMac", "VerifyMac", "ReplicateKey"}
)
_SYMMETRIC: Final = frozenset({"SYMMETRIC_DEFAULT", "AES_256", "AES_128"})
_DEFAULTS: Final[Mapping[str, Mapping[str, str]]] = {
    "CreateKey": {"KeyUsage": "ENCRYPT_DECRYPT"},
    "GetKeyPolicy": {"PolicyName": "default"},
    "PutKeyPolicy": {"PolicyName": "default"},
}
# moto looks these up by key id only.
_BY_ID: Final = frozenset({"EnableKey", "DisableKey", "ScheduleKeyDeletion", "CancelKeyDeletion"})
_DEFAULT_PERIOD_IN_DAYS: Final = 365
_SECONDS_A_DAY: Final = 86400

Parameters = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error answer: the exception's name in the KMS model, and its text."""

    code: str
    message: str


def completed(action: str, parameters: Parameters) -> dict[str, Any]:
    """Answer `parameters` as moto takes them, with the defaults that AWS KMS gives and moto does not."""
    if action in _BY_ID:
        parameters = {**parameters, "KeyId": parameters.get("KeyId", "").rsplit("/", 1)[-1]}
    return {**_DEFAULTS.get(action, {}), **parameters}


def refusal(action: str, parameters: Parameters, backend: KmsBackend) -> Refusal | None:
    """Answer why AWS KMS would refuse what moto would do; `None` where moto may decide."""
    if action in _UNSUPPORTED or parameters.get("KeySpec", "SYMMETRIC_DEFAULT") not in _SYMMETRIC:
        return Refusal("UnsupportedOperationException", "The stand-in keeps symmetric encryption keys only.")
    if "alias/aws/" in parameters.get("KeyId", ""):  # moto would make such a key on the fly
        return Refusal("NotFoundException", "The stand-in has no AWS managed keys.")
    return _cryptographic_refusal(action, parameters, backend) if action in _CRYPTOGRAPHIC else None


def ignores_ciphertext(parameters: Parameters) -> bool:
    """Say whether this only asks about a key, with no ciphertext that moto could open."""
    return bool(parameters.get("DryRun")) and "IGNORE_CIPHERTEXT" in parameters.get("DryRunModifiers", ())


def _cryptographic_refusal(action: str, parameters: Parameters, backend: KmsBackend) -> Refusal | None:
    named = parameters.get("SourceKeyId" if action == "ReEncrypt" else "KeyId")
    used = [
        find_key(name, backend) for name in (named, parameters.get("DestinationKeyId")) if name is not None
    ]
    if None in used:
        return Refusal("NotFoundException", "The key or alias does not exist.")
    if "CiphertextBlob" in parameters:
        wrapping = _wrapping_key(parameters["CiphertextBlob"], backend)
        if wrapping is None:
            return Refusal("InvalidCiphertextException", "")
        if named is not None and used[0] is not wrapping:
            return Refusal("IncorrectKeyException", "The key ID is not the one the data was encrypted under.")
        used.append(wrapping)
    return next((found for key in used if key and (found := _state_refusal(key))), None)


def _state_refusal(key: Key) -> Refusal | None:
    if key.key_state == "Disabled":
        return Refusal("DisabledException", f"{key.arn} is disabled.")
    if key.key_state != "Enabled":
        return Refusal("KMSInvalidStateException", f"{key.arn} is pending deletion.")
    return None


def _wrapping_key(blob: str, backend: KmsBackend) -> Key | None:
    """Answer the key that moto wrote into `blob` (base64): its first 36 bytes are the key id."""
    try:
        return backend.keys.get(base64.b64decode(blob)[:36].decode("ascii"))
    except (binascii.Error, UnicodeDecodeError):
        return None


def find_key(identifier: str, backend: KmsBackend) -> Key | None:
    """Answer the key that a key id, key ARN, alias name or alias ARN means."""
    name = identifier.rsplit(":", 1)[-1]
    if name.startswith("alias/"):
        return next((key for key in backend.list_keys() if name in key.aliases), None)
    return backend.keys.get(name.removeprefix("key/"))


def amended(
    action: str, parameters: Parameters, answer: dict[str, Any], backend: KmsBackend
) -> dict[str, Any]:
    """Answer moto's `answer` with the members that AWS KMS has and moto lacks."""
    key = find_key(parameters.get("KeyId") or answer.get("KeyId", ""), backend)
    if key is None:
        return answer
    added: dict[str, Any] = {}
    match action:
        case "EnableKeyRotation":
            period = parameters.get("RotationPeriodInDays")
            vars(key).update(rotation_period=period, rotation_since=time.time())
        case "GetKeyRotationStatus":
            added = _rotation(key)
        case "DescribeKey":
            added = {"KeyMetadata": {**answer["KeyMetadata"], "CurrentKeyMaterialId": _material_id(key)}}
        case "Decrypt":
            added = {"KeyMaterialId": _material_id(key)}
        case "ReEncrypt":
            source = find_key(answer["SourceKeyId"], backend) or key
            ids = _material_id(source), _material_id(key)
            added = {"SourceKeyMaterialId": ids[0], "DestinationKeyMaterialId": ids[1]}
    return answer | added


def _rotation(key: Key) -> dict[str, Any]:
    if not key.key_rotation_status:
        return {"KeyId": key.arn}
    days = vars(key).get("rotation_period") or _DEFAULT_PERIOD_IN_DAYS
    since = vars(key).get("rotation_since", key.creation_date)
    return {"KeyId": key.arn, "RotationPeriodInDays": days, "NextRotationDate": since + days * _SECONDS_A_DAY}


def _material_id(key: Key) -> str:
    """Answer an id of the key material, 64 hex digits as KMS's: its SHA-256."""
    return hashlib.sha256(key.key_material).hexdigest()
