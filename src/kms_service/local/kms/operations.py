"""The lowest layer: what KMS answers to a call, at once and without a fault."""

import contextlib
from collections.abc import Callable
from typing import Final

from kms_service.local.kms import administration, cryptographic, rotation
from kms_service.local.kms.keys import KeyStore
from kms_service.local.kms.protocol import (
    Call,
    KmsError,
    Params,
    Reply,
    Result,
    decode_blob,
    failure,
    success,
)

_OPERATIONS: Final[dict[str, Callable[[KeyStore, Params], Result]]] = {
    "".join(word.capitalize() for word in function.__name__.split("_")): function
    for function in (
        cryptographic.encrypt,
        cryptographic.decrypt,
        cryptographic.re_encrypt,
        cryptographic.generate_data_key,
        cryptographic.generate_data_key_without_plaintext,
        cryptographic.sign,
        cryptographic.verify,
        cryptographic.get_public_key,
        administration.create_key,
        administration.replicate_key,
        administration.describe_key,
        administration.update_key_description,
        administration.enable_key,
        administration.disable_key,
        administration.schedule_key_deletion,
        administration.cancel_key_deletion,
        administration.create_alias,
        administration.update_alias,
        administration.delete_alias,
        administration.list_aliases,
        administration.list_keys,
        administration.list_key_policies,
        administration.get_key_policy,
        administration.put_key_policy,
        administration.tag_resource,
        administration.untag_resource,
        administration.list_resource_tags,
        rotation.get_key_rotation_status,
        rotation.enable_key_rotation,
        rotation.disable_key_rotation,
        rotation.rotate_key_on_demand,
        rotation.list_key_rotations,
    )
}

_NAMING: Final = ("KeyId", "SourceKeyId", "DestinationKeyId", "TargetKeyId")


def keys_named(store: KeyStore, params: Params) -> tuple[str, ...]:
    """ARNs of all keys that a request names, by key id, alias or ciphertext: a ReEncrypt's source first."""
    found = []
    if params.get("CiphertextBlob"):
        with contextlib.suppress(KmsError):
            found.append(store.maker(decode_blob(params, "CiphertextBlob"))[0].arn)
    for name in _NAMING:
        with contextlib.suppress(KmsError):
            found += [store.find(params[name]).arn] if params.get(name) else []
    return tuple(dict.fromkeys(found))


def perform(store: KeyStore, call: Call) -> Reply:
    """Do what the call asks of the keys of a Region, and answer as KMS does."""
    operation = _OPERATIONS.get(call.operation)
    if operation is None:
        return failure("UnsupportedOperationException", f"The stand-in has no {call.operation}.")
    try:
        return success(operation(store, call.params))
    except KmsError as error:
        return failure(error.code, error.message)
    except KeyError as error:
        return failure("ValidationException", f"Value null at {error} failed to satisfy constraint")


def refuse_signature(call: Call, region: str | None) -> Reply | None:
    """The refusal of a call that is not signed for this Region (`None`: for any); `None` if it is.

    The signature itself is not checked: whose the credentials are does not matter here.
    """
    if not call.region:
        return failure("MissingAuthenticationTokenException", "Missing Authentication Token")
    if region not in (None, call.region):
        return failure(
            "InvalidSignatureException",
            f"Credential should be scoped to a valid region, not {call.region!r}.",
        )
    return None
