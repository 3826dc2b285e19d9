"""AWS KMS over boto3: what this service asks of it, and what it believes of the replies.

Nothing of botocore leaves this package: its errors are mapped in `faults`, and its debug log, which holds
plaintext DEKs, is shut in `telemetry.logs`.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from kms_service.crypto.material import DEK_BYTES, DataKey, WrappedDek
from kms_service.errors import IntegrityFailure, KmsServiceError, KmsUnavailable
from kms_service.kms import calls, faults
from kms_service.kms.control_plane.client import limit_attempts
from kms_service.kms.keys import arn
from kms_service.kms.keys.health import KeyHealth
from kms_service.telemetry.metrics import OTHER

if TYPE_CHECKING:
    from types_boto3_kms import KMSClient
    from types_boto3_kms.type_defs import KeyMetadataTypeDef

MAX_BLOB_BYTES = (
    6144  # KMS refuses longer ones: https://docs.aws.amazon.com/kms/latest/APIReference/API_Decrypt.html
)
_OPENING = frozenset({"Decrypt", "ReEncrypt"})


@dataclass(frozen=True, slots=True)
class Wrapped:
    """A DEK wrapped just now, and the KMS request that did it."""

    dek: WrappedDek
    request_id: str | None


@dataclass(frozen=True, slots=True)
class Unwrapped:
    """A plaintext DEK, a secret of the caller's frame (invariant 1), and the KMS request that opened it."""

    dek: DataKey
    request_id: str | None


@dataclass(frozen=True, slots=True)
class Rotation:
    """Automatic rotation of a key: every so many days, next at a UTC time; both None while it is off."""

    enabled: bool
    period_in_days: int | None
    next_at: datetime | None


@dataclass(frozen=True, slots=True)
class KeyMaterial:
    """One version of a key's material, current from a UTC time on; the first has none."""

    material_id: str | None
    current_since: datetime | None


@dataclass(frozen=True, slots=True)
class Rewrapped:
    """A DEK moved to another key inside KMS.

    Attributes:
        dek: as it is to be stored.
        key_material_id: which version of the key's material wraps it; None when KMS does not say.
        request_id: the KMS request that did it.
    """

    dek: WrappedDek
    key_material_id: str | None
    request_id: str | None


class AwsKmsService:
    """The KMS calls of one process, over one thread-safe boto3 client.

    A call ends within the request's deadline: no attempt starts that could outlive it. Throttling is retried
    with botocore's standard back-off. A call that timed out is not: the threads it would hold are other
    wallets'. An Encrypt that fails otherwise is not either, since the pool has nine other keys to try.
    `health` learns from every Encrypt and Decrypt, and may refuse one that would only wait.
    """

    def __init__(self, client: "KMSClient", region: str, health: KeyHealth) -> None:
        self._client = client
        self._region = region
        self._health = health
        self._labels: dict[str, str] = {}
        calls.watch(client)
        limit_attempts(client)

    def label(self, key_arn: str, alias: str) -> None:
        """Call this key by its alias in metrics from now on."""
        self._labels[key_arn] = alias

    def encrypt(self, key_arn: str, dek: DataKey, context: Mapping[str, str]) -> Wrapped:
        """Wrap a DEK under exactly this key (kms:Encrypt).

        Raises:
            KmsThrottled, KmsKeyUnusable, KmsUnavailable: nothing was wrapped that anybody keeps.
        """
        with self._health.wrapping(key_arn), self._call("Encrypt", key_arn, context["purpose"]):
            reply = self._client.encrypt(
                KeyId=key_arn, Plaintext=dek.reveal(), EncryptionContext=dict(context)
            )
            request_id = _request_id(reply)
            blob = reply["CiphertextBlob"]
            if reply["KeyId"] != key_arn:
                raise KmsUnavailable("reply names another key", key_arn, request_id)
            if not 0 < len(blob) <= MAX_BLOB_BYTES:
                raise KmsUnavailable("reply holds no ciphertext", key_arn, request_id)
        return Wrapped(WrappedDek(key_arn, self._region, blob), request_id)

    def decrypt(self, wrapped: WrappedDek, context: Mapping[str, str]) -> Unwrapped:
        """Unwrap a DEK, naming its key, and distrust the reply (kms:Decrypt; invariant 4).

        Raises:
            IntegrityFailure: the stored key id is no ARN of the stored Region, the blob is empty or too long,
                KMS says it was not made by this key and context, or the reply names another key or has not
                32 bytes.
            KmsThrottled, KmsKeyUnusable, KmsUnavailable: KMS did not serve the call.
        """
        if arn.region(wrapped.key_arn) != wrapped.region:
            raise IntegrityFailure("stored key id")
        if not 0 < len(wrapped.blob) <= MAX_BLOB_BYTES:
            # KMS would call it a validation error, which is also what a fault of ours would get.
            raise IntegrityFailure("stored blob's length")
        with (
            self._health.opening(wrapped.key_arn),
            self._call("Decrypt", wrapped.key_arn, context["purpose"]),
        ):
            reply = self._client.decrypt(
                KeyId=wrapped.key_arn, CiphertextBlob=wrapped.blob, EncryptionContext=dict(context)
            )
            request_id = _request_id(reply)
            if reply["KeyId"] != wrapped.key_arn:
                raise IntegrityFailure("reply names another key", request_id)
            plaintext = reply["Plaintext"]
            if len(plaintext) != DEK_BYTES:
                raise IntegrityFailure("dek length", request_id)
        return Unwrapped(DataKey(plaintext), request_id)

    def re_encrypt(
        self,
        wrapped: WrappedDek,
        source_context: Mapping[str, str],
        destination_key_arn: str,
        destination_context: Mapping[str, str],
    ) -> Rewrapped:
        """Move a DEK to another key inside KMS, naming both keys, and distrust the reply (kms:ReEncrypt).

        No plaintext enters this process (invariant 7). One call is one request: pacing is the caller's.

        Raises:
            IntegrityFailure: the stored key id is no ARN of the stored Region, the blob cannot be one of
                KMS's, KMS says that it was not made by this key and context, or the reply names other keys
                or holds no new ciphertext.
            KmsThrottled, KmsUnavailable: KMS did not serve the call.
            KmsKeyUnusable: one of the two keys refuses; KMS does not say which.
        """
        if arn.region(wrapped.key_arn) != wrapped.region:
            raise IntegrityFailure("stored key id")
        if not 0 < len(wrapped.blob) <= MAX_BLOB_BYTES:
            raise IntegrityFailure("stored dek length")
        with self._call("ReEncrypt", wrapped.key_arn, source_context["purpose"]):
            reply = self._client.re_encrypt(
                CiphertextBlob=wrapped.blob,
                SourceKeyId=wrapped.key_arn,
                SourceEncryptionContext=dict(source_context),
                DestinationKeyId=destination_key_arn,
                DestinationEncryptionContext=dict(destination_context),
            )
            request_id = _request_id(reply)
            blob = reply["CiphertextBlob"]
            if (reply["SourceKeyId"], reply["KeyId"]) != (wrapped.key_arn, destination_key_arn):
                raise IntegrityFailure("reply names other keys", request_id)
            if not 0 < len(blob) <= MAX_BLOB_BYTES or blob == wrapped.blob:
                raise IntegrityFailure("reply holds no new ciphertext", request_id)
        dek = WrappedDek(destination_key_arn, self._region, blob)
        return Rewrapped(dek, reply.get("DestinationKeyMaterialId"), request_id)

    def describe(self, key: str) -> "KeyMetadataTypeDef":
        """`KeyMetadata` of an ARN or `alias/…` (kms:DescribeKey).

        Raises:
            KmsThrottled, KmsKeyUnusable, KmsUnavailable: KMS did not serve the call.
        """
        with self._call("DescribeKey", key):
            metadata = self._client.describe_key(KeyId=key)["KeyMetadata"]
            if not arn.is_key(metadata["Arn"]):
                raise KmsUnavailable("reply describes no key", key)
        return metadata

    def rotation(self, key_arn: str) -> Rotation:
        """Automatic rotation of a key (kms:GetKeyRotationStatus).

        Raises:
            KmsThrottled, KmsKeyUnusable, KmsUnavailable: KMS did not serve the call.
        """
        with self._call("GetKeyRotationStatus", key_arn):
            reply = self._client.get_key_rotation_status(KeyId=key_arn)
            return Rotation(
                reply["KeyRotationEnabled"], reply.get("RotationPeriodInDays"), reply.get("NextRotationDate")
            )

    def materials(self, key_arn: str) -> list[KeyMaterial]:
        """The versions of a key's material that wrap or have wrapped, oldest first (kms:ListKeyRotations).

        Raises:
            KmsThrottled, KmsKeyUnusable, KmsUnavailable: KMS did not serve the call.
        """
        with self._call("ListKeyRotations", key_arn):
            pages = self._client.get_paginator("list_key_rotations").paginate(
                KeyId=key_arn, IncludeKeyMaterial="ALL_KEY_MATERIAL"
            )
            rotations = [entry for page in pages for entry in page["Rotations"]]
            dated = [KeyMaterial(each.get("KeyMaterialId"), each.get("RotationDate")) for each in rotations]
        first = [each for each in dated if each.current_since is None] or [KeyMaterial(None, None)]
        later = [each for each in dated if each.current_since is not None]
        return first[:1] + sorted(later, key=lambda each: str(each.current_since))

    @contextmanager
    def _call(self, operation: str, key: str, purpose: str = calls.ADMINISTRATION) -> Iterator[None]:
        with calls.measured(operation, self._labels.get(key, OTHER), purpose):
            try:
                yield
            except (ClientError, BotoCoreError) as error:
                # botocore's text may quote parameters; its type and code are kept in `reason`.
                raise _mapped(operation, error, key) from None
            except (ValueError, TypeError, KeyError, AttributeError):
                # botocore's parser on a reply that is no KMS reply; the text would quote the reply.
                raise KmsUnavailable("garbled reply", key) from None


def _request_id(reply: Mapping[str, Any]) -> str | None:
    value = reply.get("ResponseMetadata", {}).get("RequestId")
    return None if value is None else str(value)


def _mapped(operation: str, error: BotoCoreError | ClientError, key: str) -> KmsServiceError:
    mapped = faults.from_botocore(error, key)
    if isinstance(mapped, IntegrityFailure) and operation not in _OPENING:
        # There is no stored ciphertext that could be at fault.
        return KmsUnavailable(mapped.reason, key, mapped.kms_request_id)
    return mapped
