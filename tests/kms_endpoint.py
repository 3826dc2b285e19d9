"""The tests' KMS endpoint, and the faults that it knows: see `kms_service.local.kms.endpoint`."""

from kms_service.local.kms.endpoint import KmsEndpoint
from kms_service.local.kms.faults import (
    Delay,
    Empty,
    Error,
    Fault,
    FlippedPlaintext,
    Garbage,
    Hang,
    LostReply,
    OtherKeyId,
    Reset,
    ShortPlaintext,
    Status,
    Truncated,
)
from kms_service.local.kms.keys import Account, Key
from kms_service.local.kms.material import Material
from kms_service.local.kms.protocol import KmsError, Received

__all__ = [
    "Account",
    "Delay",
    "Empty",
    "Error",
    "Fault",
    "FlippedPlaintext",
    "Garbage",
    "Hang",
    "Key",
    "KmsEndpoint",
    "KmsError",
    "LostReply",
    "Material",
    "OtherKeyId",
    "Received",
    "Reset",
    "ShortPlaintext",
    "Status",
    "Truncated",
    "copy_keys",
]


def copy_keys(original: Account) -> Account:
    """An account with the same keys and aliases, whatever becomes of the original's."""
    account = Account(original.number)
    for region, keys in original.regions.items():
        copies = account.region(region)
        for key in keys.keys.values():
            copies.create(key.description, key.policy, key.tags, key_id=key.id, material=key.materials[-1])
        for alias, arn in keys.aliases.items():
            copies.set_alias(alias, copies.keys[arn])
    return account
