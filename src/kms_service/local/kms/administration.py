"""The operations that make, describe and change keys: everything but the use of their material.

States follow https://docs.aws.amazon.com/kms/latest/developerguide/key-state.html
"""

import json
import re
import time
from collections.abc import Sequence
from typing import Any

from kms_service.local.kms.keys import Key, KeyStore, Material
from kms_service.local.kms.protocol import KmsError, Params, Result

_DAY = 86_400
_ALIAS = re.compile(r"alias/[a-zA-Z0-9/_-]{1,250}")
_ON_DEMAND_LIMIT = 25


def create_key(store: KeyStore, params: Params) -> Result:
    """CreateKey: symmetric encryption keys only."""
    if params.get("KeySpec", "SYMMETRIC_DEFAULT") != "SYMMETRIC_DEFAULT":
        raise KmsError("UnsupportedOperationException", "Only symmetric encryption keys exist here.")
    policy = params.get("Policy", "")
    if policy:
        _check_policy(policy)
    key = store.create(params.get("Description", ""), policy, _tags(params))
    return {"KeyMetadata": _metadata(store, key)}


def describe_key(store: KeyStore, params: Params) -> Result:
    """DescribeKey: in every state, by alias too."""
    return {"KeyMetadata": _metadata(store, store.find(params["KeyId"]))}


def enable_key(store: KeyStore, params: Params) -> Result:
    """EnableKey: not while pending deletion."""
    key = _named(store, params)
    key.require(enabled=False)
    key.state = "Enabled"
    return {}


def disable_key(store: KeyStore, params: Params) -> Result:
    """DisableKey: not while pending deletion."""
    key = _named(store, params)
    key.require(enabled=False)
    key.state = "Disabled"
    return {}


def schedule_key_deletion(store: KeyStore, params: Params) -> Result:
    """ScheduleKeyDeletion: 7 to 30 days, 30 by default."""
    key = _named(store, params)
    key.require(enabled=False)
    days = _within(params.get("PendingWindowInDays", 30), 7, 30, "pendingWindowInDays")
    key.state, key.deletion_date = "PendingDeletion", time.time() + days * _DAY
    return {
        "KeyId": key.arn,
        "DeletionDate": key.deletion_date,
        "KeyState": key.state,
        "PendingWindowInDays": days,
    }


def cancel_key_deletion(store: KeyStore, params: Params) -> Result:
    """CancelKeyDeletion: the key is disabled afterwards."""
    key = _named(store, params)
    if key.state != "PendingDeletion":
        raise KmsError("KMSInvalidStateException", f"{key.arn} is not pending deletion.")
    key.state, key.deletion_date = "Disabled", None
    return {"KeyId": key.arn}


def create_alias(store: KeyStore, params: Params) -> Result:
    """CreateAlias: a new name for a key that is not pending deletion."""
    name = params["AliasName"]
    if not _ALIAS.fullmatch(name) or name.startswith("alias/aws/"):
        raise KmsError("InvalidAliasNameException", "Alias name is not valid.")
    key = store.find(params["TargetKeyId"], by_alias=False)
    key.require(enabled=False)
    if name in store.aliases:
        raise KmsError("AlreadyExistsException", f"An alias with the name {store.arn(name)} already exists")
    store.set_alias(name, key)
    return {}


def update_alias(store: KeyStore, params: Params) -> Result:
    """UpdateAlias: an existing name moves to another key."""
    _require_alias(store, params["AliasName"])
    key = store.find(params["TargetKeyId"], by_alias=False)
    key.require(enabled=False)
    store.set_alias(params["AliasName"], key)
    return {}


def delete_alias(store: KeyStore, params: Params) -> Result:
    """DeleteAlias: the key stays."""
    _require_alias(store, params["AliasName"])
    del store.aliases[params["AliasName"]]
    return {}


def list_aliases(store: KeyStore, params: Params) -> Result:
    """ListAliases: of the account or of one key, in pages of 50 unless told."""
    wanted = store.find(params["KeyId"], by_alias=False).arn if params.get("KeyId") else None
    entries = [
        {
            "AliasName": name,
            "AliasArn": store.arn(name),
            "TargetKeyId": arn.rpartition("/")[2],
            "CreationDate": store.alias_dates[name],
            "LastUpdatedDate": store.alias_dates[name],
        }
        for name, arn in sorted(store.aliases.items())
        if wanted in (None, arn)
    ]
    return _page("Aliases", entries, params)


def list_keys(store: KeyStore, params: Params) -> Result:
    """ListKeys: in every state, in pages of 50 unless told."""
    return _page("Keys", [{"KeyId": key.id, "KeyArn": key.arn} for key in store.keys.values()], params)


def get_key_rotation_status(store: KeyStore, params: Params) -> Result:
    """GetKeyRotationStatus: off while the key is disabled for good, on with its period otherwise."""
    key = _named(store, params)
    if key.rotation_period is None or key.state == "PendingDeletion":
        return {"KeyRotationEnabled": False, "KeyId": key.arn}
    return {
        "KeyRotationEnabled": True,
        "KeyId": key.arn,
        "RotationPeriodInDays": key.rotation_period,
        "NextRotationDate": key.rotation_enabled_at + key.rotation_period * _DAY,
    }


def enable_key_rotation(store: KeyStore, params: Params) -> Result:
    """EnableKeyRotation: every 90 to 2560 days, 365 by default."""
    key = _named(store, params)
    key.require(enabled=True)
    days = params.get("RotationPeriodInDays", key.rotation_period or 365)
    key.rotation_period = _within(days, 90, 2560, "rotationPeriodInDays")
    key.rotation_enabled_at = time.time()
    return {}


def disable_key_rotation(store: KeyStore, params: Params) -> Result:
    """DisableKeyRotation."""
    key = _named(store, params)
    key.require(enabled=True)
    key.rotation_period = None
    return {}


def rotate_key_on_demand(store: KeyStore, params: Params) -> Result:
    """RotateKeyOnDemand: new material from now on; older blobs still open."""
    key = _named(store, params)
    key.require(enabled=True)
    if len(key.materials) > _ON_DEMAND_LIMIT:
        raise KmsError("LimitExceededException", "The limit of on-demand rotations was reached.")
    key.materials.append(Material(rotated=time.time()))
    return {"KeyId": key.arn}


def list_key_rotations(store: KeyStore, params: Params) -> Result:
    """ListKeyRotations: with `IncludeKeyMaterial=ALL_KEY_MATERIAL` the first material as well."""
    key = _named(store, params)
    entries: list[Result] = [
        {
            "KeyId": key.arn,
            "KeyMaterialId": material.id,
            "KeyMaterialState": "CURRENT" if material is key.materials[-1] else "NON_CURRENT",
        }
        | ({"RotationDate": material.rotated, "RotationType": "ON_DEMAND"} if material.rotated else {})
        for material in key.materials
        if material.rotated or params.get("IncludeKeyMaterial") == "ALL_KEY_MATERIAL"
    ]
    return _page("Rotations", entries, params)


def get_key_policy(store: KeyStore, params: Params) -> Result:
    """GetKeyPolicy."""
    return {"Policy": _named(store, params).policy, "PolicyName": "default"}


def put_key_policy(store: KeyStore, params: Params) -> Result:
    """PutKeyPolicy: any well-formed policy document."""
    key = _named(store, params)
    _check_policy(params["Policy"])
    key.policy = params["Policy"]
    return {}


def tag_resource(store: KeyStore, params: Params) -> Result:
    """TagResource: adds tags and replaces those of the same name."""
    key = _named(store, params)
    key.require(enabled=False)
    key.tags |= _tags(params)
    return {}


def list_resource_tags(store: KeyStore, params: Params) -> Result:
    """ListResourceTags."""
    tags = _named(store, params).tags
    entries = [{"TagKey": name, "TagValue": value} for name, value in sorted(tags.items())]
    return _page("Tags", entries, params)


def _named(store: KeyStore, params: Params) -> Key:
    return store.find(params["KeyId"], by_alias=False)


def _require_alias(store: KeyStore, name: str) -> None:
    if name not in store.aliases:
        raise KmsError("NotFoundException", f"Alias {store.arn(name)} is not found.")


def _within(value: int, least: int, most: int, name: str) -> int:
    if not least <= value <= most:
        raise KmsError("ValidationException", f"Value '{value}' at '{name}' failed to satisfy constraint")
    return value


def _tags(params: Params) -> dict[str, str]:
    return {tag["TagKey"]: tag["TagValue"] for tag in params.get("Tags") or ()}


def _check_policy(document: str) -> None:
    try:
        if not json.loads(document)["Statement"]:
            raise KmsError("MalformedPolicyDocumentException", "The policy has no statement.")
    except (ValueError, KeyError, TypeError):
        raise KmsError("MalformedPolicyDocumentException", "The policy is not well-formed.") from None


def _page(name: str, entries: Sequence[Any], params: Params) -> Result:
    marker, limit = params.get("Marker", "0"), params.get("Limit", 50)
    if not marker.isdecimal() or int(marker) > len(entries):
        raise KmsError("InvalidMarkerException", "The marker is not valid.")
    start, end = int(marker), int(marker) + limit
    page: Result = {name: list(entries[start:end]), "Truncated": end < len(entries)}
    return page | ({"NextMarker": str(end)} if end < len(entries) else {})


def _metadata(store: KeyStore, key: Key) -> Result:
    metadata: Result = {
        "AWSAccountId": store.account,
        "KeyId": key.id,
        "Arn": key.arn,
        "CreationDate": key.created,
        "Enabled": key.state == "Enabled",
        "Description": key.description,
        "KeyUsage": "ENCRYPT_DECRYPT",
        "KeyState": key.state,
        "Origin": "AWS_KMS",
        "KeyManager": "CUSTOMER",
        "CustomerMasterKeySpec": "SYMMETRIC_DEFAULT",
        "KeySpec": "SYMMETRIC_DEFAULT",
        "EncryptionAlgorithms": ["SYMMETRIC_DEFAULT"],
        "MultiRegion": False,
        "CurrentKeyMaterialId": key.materials[-1].id,
    }
    return metadata | ({"DeletionDate": key.deletion_date} if key.deletion_date else {})
