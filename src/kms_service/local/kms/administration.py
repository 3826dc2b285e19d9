"""The operations that make, describe and change keys: moto's, and what it lacks.

What AWS KMS refuses and moto does not is refused here; key states follow
https://docs.aws.amazon.com/kms/latest/developerguide/key-state.html
"""

import json
import re
from collections.abc import Sequence
from typing import Any

from kms_service.local.kms.keys import ENCRYPTION, SYMMETRIC, Key, KeyStore
from kms_service.local.kms.protocol import KmsError, Params, Result

_ALIAS = re.compile(r"alias/[a-zA-Z0-9/_-]{1,250}")
_PAGE = 50


def create_key(store: KeyStore, params: Params) -> Result:
    """CreateKey: symmetric keys to encrypt with, elliptic ones to sign with; multi-Region if asked."""
    spec, usage = params.get("KeySpec", SYMMETRIC), params.get("KeyUsage", ENCRYPTION)
    if spec != SYMMETRIC and not spec.startswith("ECC_"):
        raise KmsError("UnsupportedOperationException", "The stand-in has symmetric and elliptic keys only.")
    if usage != (ENCRYPTION if spec == SYMMETRIC else "SIGN_VERIFY"):
        raise KmsError("ValidationException", f"KeyUsage {usage} is not compatible with KeySpec {spec}")
    key = store.create(
        params.get("Description", ""),
        _read_policy(params),
        _tags(params),
        spec=spec,
        usage=usage,
        multi_region=bool(params.get("MultiRegion")),
    )
    return {"KeyMetadata": _metadata(key)}


def replicate_key(store: KeyStore, params: Params) -> Result:
    """ReplicateKey: a copy in another Region of this account, with the same id and the same material."""
    key, region = _find(store, params), params["ReplicaRegion"]
    key.require(enabled=True)
    if not key.kept.multi_region or key.is_replica:
        raise KmsError("UnsupportedOperationException", f"{key.arn} is not a multi-Region primary key.")
    if region in {each.store.region for each in store.account.find_related(key)}:
        raise KmsError("AlreadyExistsException", f"{key.id} is in {region} already.")
    replica = store.account.region(region).replicate(
        key, params.get("Description", ""), _read_policy(params), _tags(params)
    )
    return {
        "ReplicaKeyMetadata": _metadata(replica),
        "ReplicaPolicy": replica.policy,
        "ReplicaTags": params.get("Tags") or [],
    }


def describe_key(store: KeyStore, params: Params) -> Result:
    """DescribeKey: in every state, by alias too."""
    return {"KeyMetadata": _metadata(store.find(params["KeyId"]))}


def enable_key(store: KeyStore, params: Params) -> Result:
    """EnableKey: not while pending deletion."""
    return _ask(store, "EnableKey", _find_kept(store, params), params)


def disable_key(store: KeyStore, params: Params) -> Result:
    """DisableKey: not while pending deletion."""
    return _ask(store, "DisableKey", _find_kept(store, params), params)


def schedule_key_deletion(store: KeyStore, params: Params) -> Result:
    """ScheduleKeyDeletion: 7 to 30 days, 30 by default."""
    key = _find_kept(store, params)
    days = require_within(params.get("PendingWindowInDays", 30), 7, 30, "pendingWindowInDays")
    answer = _ask(store, "ScheduleKeyDeletion", key, params)
    return answer | {"KeyId": key.arn, "KeyState": key.state, "PendingWindowInDays": days}


def cancel_key_deletion(store: KeyStore, params: Params) -> Result:
    """CancelKeyDeletion: the key is disabled afterwards."""
    key = _find(store, params)
    if key.state != "PendingDeletion":
        raise KmsError("KMSInvalidStateException", f"{key.arn} is not pending deletion.")
    return _ask(store, "CancelKeyDeletion", key, params) | {"KeyId": key.arn}


def update_key_description(store: KeyStore, params: Params) -> Result:
    """UpdateKeyDescription: not while pending deletion."""
    return _ask(store, "UpdateKeyDescription", _find_kept(store, params), params)


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
    store.backend.delete_alias(params["AliasName"])
    return {}


def list_aliases(store: KeyStore, params: Params) -> Result:
    """ListAliases: of the account or of one key, in pages; there are none of AWS's own."""
    wanted = _find(store, params).id if params.get("KeyId") else None
    entries = [
        {
            "AliasName": alias.alias_name,
            "AliasArn": alias.alias_arn,
            "TargetKeyId": alias.target_key_id,
            "CreationDate": store.alias_dates[alias.alias_name],
            "LastUpdatedDate": store.alias_dates[alias.alias_name],
        }
        for alias in sorted(store.backend.list_aliases(wanted), key=lambda alias: str(alias.alias_name))
    ]
    return page("Aliases", entries, params)


def list_keys(store: KeyStore, params: Params) -> Result:
    """ListKeys: in every state, in pages."""
    return page("Keys", [{"KeyId": key.id, "KeyArn": key.arn} for key in store.keys.values()], params)


def list_key_policies(store: KeyStore, params: Params) -> Result:
    """ListKeyPolicies: `default`, and those that AWS RAM would give a key that is shared."""
    key = _find(store, params)
    return page("PolicyNames", ["default", *key.shared_policies], params)


def get_key_policy(store: KeyStore, params: Params) -> Result:
    """GetKeyPolicy: `default`, or one of a key that is shared."""
    key, name = _find(store, params), params.get("PolicyName", "default")
    if name in key.shared_policies:
        return {"Policy": key.shared_policies[name], "PolicyName": name}
    answer = _ask(store, "GetKeyPolicy", key, {**params, "PolicyName": name})
    return answer | {"PolicyName": "default"}


def put_key_policy(store: KeyStore, params: Params) -> Result:
    """PutKeyPolicy: any well-formed policy document."""
    _check_policy(params["Policy"])
    return _ask(store, "PutKeyPolicy", _find(store, params), {"PolicyName": "default", **params})


def tag_resource(store: KeyStore, params: Params) -> Result:
    """TagResource: adds tags and replaces those of the same name."""
    return _ask(store, "TagResource", _find_kept(store, params), params)


def untag_resource(store: KeyStore, params: Params) -> Result:
    """UntagResource."""
    return _ask(store, "UntagResource", _find_kept(store, params), params)


def list_resource_tags(store: KeyStore, params: Params) -> Result:
    """ListResourceTags: by name, in pages."""
    tags = _find(store, params).tags
    entries = [{"TagKey": name, "TagValue": value} for name, value in sorted(tags.items())]
    return page("Tags", entries, params)


def require_within(value: int, least: int, most: int, name: str) -> int:
    """Return the value, if it is within these bounds.

    Raises:
        KmsError: ValidationException; it is not.
    """
    if not least <= value <= most:
        raise KmsError("ValidationException", f"Value '{value}' at '{name}' failed to satisfy constraint")
    return value


def page(name: str, entries: Sequence[Any], params: Params) -> Result:
    """Return the entries from `Marker` on, at most `Limit` or 50.

    Raises:
        KmsError: InvalidMarkerException.
    """
    marker, limit = params.get("Marker", "0"), params.get("Limit", _PAGE)
    if not marker.isdecimal() or int(marker) > len(entries):
        raise KmsError("InvalidMarkerException", "The marker is not valid.")
    start, end = int(marker), int(marker) + limit
    found: Result = {name: list(entries[start:end]), "Truncated": end < len(entries)}
    return found | ({"NextMarker": str(end)} if end < len(entries) else {})


def _ask(store: KeyStore, operation: str, key: Key, params: Params) -> Result:
    return store.ask_moto(operation, {**params, "KeyId": key.id})


def _find(store: KeyStore, params: Params) -> Key:
    return store.find(params["KeyId"], by_alias=False)


def _find_kept(store: KeyStore, params: Params) -> Key:
    """The key, unless it is pending deletion."""
    key = _find(store, params)
    key.require(enabled=False)
    return key


def _require_alias(store: KeyStore, name: str) -> None:
    if name not in store.aliases:
        raise KmsError("NotFoundException", f"Alias {store.arn(name)} is not found.")


def _tags(params: Params) -> dict[str, str]:
    return {tag["TagKey"]: tag["TagValue"] for tag in params.get("Tags") or ()}


def _check_policy(document: str) -> None:
    try:
        if not json.loads(document)["Statement"]:
            raise KmsError("MalformedPolicyDocumentException", "The policy has no statement.")
    except (ValueError, KeyError, TypeError):
        raise KmsError("MalformedPolicyDocumentException", "The policy is not well-formed.") from None


def _read_policy(params: Params) -> str:
    """The policy of a new key; an empty one stands for KMS's default."""
    document = str(params.get("Policy") or "")
    if document:
        _check_policy(document)
    return document


def _metadata(key: Key) -> Result:
    described = key.kept.to_dict()["KeyMetadata"]
    metadata: Result = {name: value for name, value in described.items() if value is not None}
    metadata["MultiRegion"] = bool(key.kept.multi_region)
    if key.materials:
        metadata["CurrentKeyMaterialId"] = key.materials[-1].id
    if key.kept.deletion_date is None:
        metadata.pop("DeletionDate", None)
    return metadata | ({"MultiRegionConfiguration": _replication(key)} if key.kept.multi_region else {})


def _replication(key: Key) -> Result:
    related = key.store.account.find_related(key)
    places = [(each.is_replica, {"Arn": each.arn, "Region": each.store.region}) for each in related]
    return {
        "MultiRegionKeyType": "REPLICA" if key.is_replica else "PRIMARY",
        "PrimaryKey": next((place for replica, place in places if not replica), None),
        "ReplicaKeys": [place for replica, place in places if replica],
    }
