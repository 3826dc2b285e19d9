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
]
