"""moto's KMS keys as text, so that they outlive the process that made them.

moto keeps keys in memory only: its next process would not know the keys that yesterday's wallets lie under.
"""

import base64
import copy
import json
from datetime import datetime
from typing import Any

from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.kms.models import Key, KmsBackend, kms_backends

from kms_service.local.errors import LocalError

_FORMAT = 1
_STORED_OTHERWISE = {"private_key", "grants", "aliases", "key_material", "deletion_date"}


def dump() -> str:
    """Answer every key of moto's with material, aliases, tags, policy and rotation: secret, for `restore`."""
    backends = [
        {"account": account, "region": region, "keys": [_stored(key, backend) for key in backend.list_keys()]}
        for account, regions in kms_backends.items()
        for region, backend in regions.items()
    ]
    return json.dumps({"format": _FORMAT, "backends": backends}, indent=1)


def restore(dumped: str) -> None:
    """Replace moto's keys by those that `dump` answered.

    Raises:
        LocalError: `dumped` is not what `dump` answers.
    """
    for _, _, backend in kms_backends.iter_backends():
        backend.reset()
    try:
        document = json.loads(dumped)
        if document["format"] != _FORMAT:
            raise LocalError(f"it has format {document['format']}, this release reads {_FORMAT}")
        _restore_all(document["backends"])
    except (ValueError, KeyError, TypeError) as error:
        raise LocalError(f"it is damaged ({type(error).__name__}): put back a copy of it") from None


def _stored(key: Key, backend: KmsBackend) -> dict[str, Any]:
    return {
        "fields": {name: value for name, value in vars(key).items() if name not in _STORED_OTHERWISE},
        "key_material": base64.b64encode(key.key_material).decode(),
        "deletion_date": key.deletion_date.isoformat() if key.deletion_date else None,
        "aliases": list(key.aliases),
        "tags": backend.tagger.get_tag_dict_for_resource(key.id),
    }


def _restore_all(backends: list[dict[str, Any]]) -> None:
    # One new key to copy: moto generates an RSA key with every key, which symmetric ones never use.
    spare = KmsBackend("us-east-1", DEFAULT_ACCOUNT_ID)
    template = spare.create_key(None, "ENCRYPT_DECRYPT", "SYMMETRIC_DEFAULT", "", None)
    for entry in backends:
        backend = kms_backends[entry["account"]][entry["region"]]
        for stored in entry["keys"]:
            _restore(stored, copy.copy(template), backend)


def _restore(stored: dict[str, Any], key: Key, backend: KmsBackend) -> None:
    vars(key).update(stored["fields"], grants={}, aliases={})
    key.key_material = base64.b64decode(stored["key_material"], validate=True)
    key.deletion_date = datetime.fromisoformat(stored["deletion_date"]) if stored["deletion_date"] else None
    backend.keys[key.id] = key
    for alias in stored["aliases"]:
        backend.create_alias(key.id, alias)
    backend.tag_resource(key.id, stored["tags"])
