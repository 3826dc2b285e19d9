"""An account's keys as text, so that they outlive the process that made them.

moto keeps keys in memory only: its next process would not know the keys that yesterday's wallets lie under.
"""

import base64
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, cast

from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)

from kms_service.local.errors import LocalError
from kms_service.local.kms.keys import SYMMETRIC, Account, Key, KeyStore
from kms_service.local.kms.material import Material

_FORMAT: Final = 2
_BEFORE: Final = 1
"""Of releases whose blobs were moto's: one secret a key, rotated by name only, and aliases without dates."""
_STORED_OTHERWISE: Final = {"private_key", "grants", "aliases", "key_material", "deletion_date"}
_ACCOUNT: Final = "123456789012"

Stored = Mapping[str, Any]


def dump(account: Account) -> str:
    """Every key with material, aliases, tags, policy and rotation, as text for `restore`; a secret."""
    backends = [
        {
            "account": account.number,
            "region": store.region,
            "keys": [_dump_key(key) for key in store.keys.values()],
        }
        for store in account.regions.values()
    ]
    return json.dumps({"format": _FORMAT, "backends": backends}, indent=1)


def restore(dumped: str | None) -> Account:
    """The account that `dump` wrote down, in this release or an earlier one; a new one for `None`.

    Raises:
        LocalError: `dump` did not write this.
    """
    if dumped is None:
        return Account(_ACCOUNT)
    try:
        document = json.loads(dumped)
        if document["format"] not in (_FORMAT, _BEFORE):
            raise LocalError(
                f"it has format {document['format']}, this release reads {_BEFORE} and {_FORMAT}"
            )
        return _restore_account(document["backends"])
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise LocalError(f"it is damaged ({type(error).__name__}): put back a copy of it") from None


def _dump_key(key: Key) -> dict[str, Any]:
    kept, secret = key.kept, None
    if not key.materials:
        secret = cast("Any", kept.private_key).private_key.private_bytes(
            Encoding.DER, PrivateFormat.PKCS8, NoEncryption()
        )
    return {
        "fields": {name: value for name, value in vars(kept).items() if name not in _STORED_OTHERWISE},
        "materials": [{"secret": _b64(each.secret), "rotated": each.rotated} for each in key.materials],
        "private_key": _b64(secret) if secret else None,
        "rotation": {"period": key.rotation_period, "since": key.rotation_enabled_at},
        "deletion_date": kept.deletion_date.isoformat() if kept.deletion_date else None,
        "aliases": {name: key.store.alias_dates[name] for name in kept.aliases},
        "tags": key.tags,
    }


def _restore_account(backends: list[Stored]) -> Account:
    account = Account(backends[0]["account"] if backends else _ACCOUNT)
    for entry in backends:
        store = account.region(entry["region"])
        for stored in entry["keys"]:
            _restore_key(store, stored if "materials" in stored else _upgrade(stored))
    return account


def _restore_key(store: KeyStore, stored: Stored) -> None:
    fields = stored["fields"]
    key = store.create(
        spec=fields["key_spec"],
        usage=fields["key_usage"],
        multi_region=bool(fields["multi_region"]),
        key_id=fields["id"],
    )
    vars(key.kept).update(fields)
    key.kept.deletion_date = _date(stored["deletion_date"])
    key.rotation_period, key.rotation_enabled_at = stored["rotation"]["period"], stored["rotation"]["since"]
    if fields["key_spec"] == SYMMETRIC:
        key.materials = _find_shared(key) or [_material(each) for each in stored["materials"]]
    else:
        secret = load_der_private_key(base64.b64decode(stored["private_key"], validate=True), password=None)
        cast("Any", key.kept.private_key).private_key = secret
    for name, changed in stored["aliases"].items():
        store.set_alias(name, key, changed)
    store.backend.tag_resource(key.id, stored["tags"])


def _find_shared(key: Key) -> list[Material] | None:
    """The material of the same multi-Region key in another Region, if it is there already."""
    others = [each for each in key.store.account.find_related(key) if each is not key]
    return others[0].materials if others else None


def _upgrade(stored: Stored) -> dict[str, Any]:
    """What an earlier release stored, in the form of this one.

    Its rotations changed no material. Here each gets its own, newer than everything under the key.
    """
    fields = dict(stored["fields"])
    period = (fields.pop("rotation_period", None) or 365) if fields["key_rotation_status"] else None
    since = fields.pop("rotation_since", fields["creation_date"])
    rotated = [Material(rotated=each["RotationDate"]) for each in fields["rotations"]]
    return {
        **stored,
        "fields": fields,
        "materials": [{"secret": stored["key_material"], "rotated": None}]
        + [{"secret": _b64(each.secret), "rotated": each.rotated} for each in rotated],
        "rotation": {"period": period, "since": since},
        "aliases": dict.fromkeys(stored["aliases"], fields["creation_date"]),
    }


def _material(stored: Stored) -> Material:
    return Material(base64.b64decode(stored["secret"], validate=True), stored["rotated"])


def _date(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _b64(value: bytes) -> str:
    return base64.b64encode(value).decode()
