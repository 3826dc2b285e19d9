"""Unwraps DEKs under another service's keys, made without an encryption context. Only for an adoption."""

from base64 import b64encode

from kms_service.crypto.material import DEK_BYTES, DataKey
from kms_service.errors import IntegrityFailure, KmsUnavailable
from kms_service.kms import calls
from kms_service.kms.answers import Unwrapped
from kms_service.kms.data_plane.client import GARBLED, KmsClient
from kms_service.kms.data_plane.replies import Garbled
from kms_service.kms.keys import arn
from kms_service.telemetry.metrics import OTHER

PURPOSE = "adoption"


class ForeignKeys:
    """Unwraps DEKs under keys outside the pool, in one Region. It owns the client."""

    def __init__(self, client: KmsClient, region: str) -> None:
        self._client = client
        self._region = region
        self.used: set[str] = set()
        """The ARNs of the keys that unwrapped something."""

    async def decrypt(self, key: str, blob: bytes) -> Unwrapped:
        """Unwrap a DEK, naming its key by id or ARN and checking the reply (kms:Decrypt without a context).

        Raises:
            IntegrityFailure: KMS says that the key did not make the blob, or the reply names another key or
                does not hold 32 bytes.
            KmsThrottled, KmsKeyUnusable, KmsUnavailable: KMS did not serve the call.
        """
        with calls.measure("Decrypt", OTHER, PURPOSE) as call:
            try:
                reply = await self._client.ask(
                    call, key, {"KeyId": key, "CiphertextBlob": b64encode(blob).decode()}
                )
                answered, plaintext = reply.text("KeyId"), reply.blob("Plaintext")
            except Garbled:
                raise KmsUnavailable(GARBLED, key, call.request_id) from None
            # `key` may be the whole ARN, or the bare id at its end.
            if arn.region(answered) != self._region or key not in (answered, answered.rpartition("/")[2]):
                raise IntegrityFailure("reply names another key", reply.request_id)
            if len(plaintext) != DEK_BYTES:
                raise IntegrityFailure("dek length", reply.request_id)
            self.used.add(answered)
        return Unwrapped(DataKey(plaintext), answered, reply.request_id)

    async def close(self) -> None:
        """Close all connections, for good."""
        await self._client.close()
