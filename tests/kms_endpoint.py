"""A scripted KMS endpoint over HTTP: real AES-256-GCM and real state rules, told to fail on cue.

It stands in for AWS at the lowest boundary, so that boto3 and everything above it run unchanged:

    with KmsEndpoint() as kms:
        pool = kms.add_pool("Empressa-wallet-key", 10)
        kms.on("Decrypt", key="alias/Empressa-wallet-key-3").times(2).answer(Error("ThrottlingException"))
        kms.on("Encrypt").at_random(0.3, seed=7).answer(Status(500))
        with kms.on("Decrypt").answer(Hang()):
            ...
        assert kms.count("Decrypt", outcome="ok") == 1
"""

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
from kms_service.local.kms.keys import Key, Material
from kms_service.local.kms.protocol import KmsError, Received

__all__ = [
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
