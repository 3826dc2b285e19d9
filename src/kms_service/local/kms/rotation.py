"""The operations on the rotation of key material; moto knows little more of it than whether it is on."""

import time

from kms_service.local.kms.administration import page, require_within
from kms_service.local.kms.keys import Key, KeyStore
from kms_service.local.kms.material import Material
from kms_service.local.kms.protocol import KmsError, Params, Result

_DAY = 86_400
_YEARLY = 365
_ON_DEMAND_LIMIT = 25


def get_key_rotation_status(store: KeyStore, params: Params) -> Result:
    """GetKeyRotationStatus: off while the key is pending deletion, on with its period otherwise."""
    key = _symmetric(store, params)
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
    key = _symmetric(store, params)
    key.require(enabled=True)
    days = params.get("RotationPeriodInDays", key.rotation_period or _YEARLY)
    key.rotation_period = require_within(days, 90, 2560, "rotationPeriodInDays")
    key.rotation_enabled_at = time.time()
    return {}


def disable_key_rotation(store: KeyStore, params: Params) -> Result:
    """DisableKeyRotation."""
    key = _symmetric(store, params)
    key.require(enabled=True)
    key.rotation_period = None
    return {}


def rotate_key_on_demand(store: KeyStore, params: Params) -> Result:
    """RotateKeyOnDemand: new material from now on, in every Region of the key; older blobs still open."""
    key = _symmetric(store, params)
    key.require(enabled=True)
    if key.is_replica:
        raise KmsError("UnsupportedOperationException", f"{key.arn} is a replica: rotate its primary key.")
    if len(key.materials) > _ON_DEMAND_LIMIT:
        raise KmsError("LimitExceededException", "The limit of on-demand rotations was reached.")
    key.materials.append(Material(rotated=time.time()))
    return {"KeyId": key.arn}


def list_key_rotations(store: KeyStore, params: Params) -> Result:
    """ListKeyRotations: with `IncludeKeyMaterial=ALL_KEY_MATERIAL` the first material as well."""
    key = _symmetric(store, params)
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
    return page("Rotations", entries, params)


def _symmetric(store: KeyStore, params: Params) -> Key:
    key = store.find(params["KeyId"], by_alias=False)
    if not key.materials:
        raise KmsError("UnsupportedOperationException", f"{key.arn} is an asymmetric key.")
    return key
