"""The KMS calls that serving makes, and the checks of their replies.

Nothing of HTTP or of KMS's protocol leaves this package. `faults` maps the errors.
"""

from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from kms_service.crypto.material import DEK_BYTES, DataKey, WrappedDek
from kms_service.errors import IntegrityFailure, KmsKeyUnusable, KmsUnavailable
from kms_service.kms import calls
from kms_service.kms.answers import (
    UNSUPPORTED_ROTATION,
    KeyMaterial,
    KeyMetadata,
    KeyRotation,
    Rewrapped,
    Unwrapped,
    Wrapped,
)
from kms_service.kms.calls import Call
from kms_service.kms.data_plane.client import GARBLED
from kms_service.kms.data_plane.replies import Garbled
from kms_service.kms.errors import KmsCallNotMade, KmsUnsupported
from kms_service.kms.keys import arn
from kms_service.kms.keys.health import KeyHealth
from kms_service.kms.regions.routes import Regions, Served
from kms_service.telemetry.metrics import OTHER

__all__ = [
    "MAX_BLOB_BYTES",
    "AwsKmsService",
    "KeyMaterial",
    "KeyMetadata",
    "KeyRotation",
    "Rewrapped",
    "Unwrapped",
    "Wrapped",
]

MAX_BLOB_BYTES = (
    6144  # KMS refuses longer ones: https://docs.aws.amazon.com/kms/latest/APIReference/API_Decrypt.html
)
_OPENING = frozenset({"Decrypt", "ReEncrypt"})


class AwsKmsService:
    """The KMS calls of one process. It belongs to one event loop, and owns the Regions.

    A call ends within the request's deadline: no attempt starts that could outlive it. Throttling is retried
    with botocore's standard back-off. A call that timed out is not retried: others would wait behind it. Nor
    is an Encrypt that failed for another reason, since the pool has other keys to try. `health` learns from
    every Encrypt and Decrypt, and may refuse one that would only wait.

    A multi-Region key counts as one key, whichever Region its ARN names and whichever Region answers.
    """

    def __init__(self, regions: Regions, health: KeyHealth) -> None:
        self.regions = regions
        """The Regions that are asked."""
        self._health = health
        self._labels: dict[str, str] = {}

    @property
    def region(self) -> str:
        """The Region that is asked first; the keys of the pool are known by their ARNs in it."""
        return self.regions.home.name

    @property
    def credentials_problem(self) -> str | None:
        """Why there are no valid credentials, so that no call is made; None while there are some."""
        return self.regions.credentials_problem

    def pool_arn(self, key_arn: str) -> str:
        """The ARN by which the pool knows this key, whichever Region the given ARN names."""
        return arn.in_region(key_arn, self.region)

    def label(self, key_arn: str, alias: str) -> None:
        """Use this alias as the key's label in metrics from now on."""
        self._labels[key_arn] = alias

    async def close(self) -> None:
        """End all connections, for good."""
        await self.regions.close()

    async def encrypt(self, key_arn: str, dek: DataKey, context: Mapping[str, str]) -> Wrapped:
        """Wrap a DEK under exactly this key (kms:Encrypt).

        Raises:
            KmsThrottled, KmsKeyUnusable, KmsUnavailable: no wrapped DEK was returned.
        """
        # Opening a wallet refuses a key of another Region, so nothing may be wrapped under one.
        if arn.region(key_arn) != self.region:
            raise KmsCallNotMade("key of another Region", key_arn)
        async with self._health.wrapping(key_arn):
            with self._call("Encrypt", key_arn, context["purpose"]) as call:
                served = await self.regions.ask(
                    call,
                    key_arn,
                    {"KeyId": key_arn, "Plaintext": _text(dek.reveal()), "EncryptionContext": dict(context)},
                )
                reply, used = served.reply, _expected_arn(key_arn, served)
                blob = reply.blob("CiphertextBlob")
                if reply.text("KeyId") != used:
                    raise KmsUnavailable("reply names another key", key_arn, reply.request_id)
                if not 0 < len(blob) <= MAX_BLOB_BYTES:
                    raise KmsUnavailable("reply holds no ciphertext", key_arn, reply.request_id)
        return Wrapped(WrappedDek(used, served.region, blob), reply.request_id)

    async def decrypt(self, wrapped: WrappedDek, context: Mapping[str, str]) -> Unwrapped:
        """Unwrap a DEK, naming its key and checking the reply (kms:Decrypt; invariant 4).

        Raises:
            IntegrityFailure: the stored key id is not a key ARN of the stored Region; the blob is empty or
                too long; KMS says that it was not made by this key and context; or the reply names another
                key or does not hold 32 bytes. The reply's ARN may differ from the row's only in the Region,
                and only if that is the Region that answered and the key is a multi-Region key.
            KmsThrottled, KmsKeyUnusable, KmsUnavailable: KMS did not serve the call.
        """
        _check_stored(wrapped)
        key_arn = self.pool_arn(wrapped.key_arn)
        async with self._health.opening(key_arn):
            with self._call("Decrypt", key_arn, context["purpose"]) as call:
                served = await self.regions.ask(
                    call,
                    key_arn,
                    {
                        "KeyId": key_arn,
                        "CiphertextBlob": _text(wrapped.blob),
                        "EncryptionContext": dict(context),
                    },
                )
                reply, used = served.reply, _expected_arn(key_arn, served)
                if reply.text("KeyId") != used:
                    raise IntegrityFailure("reply names another key", reply.request_id)
                plaintext = reply.blob("Plaintext")
                if len(plaintext) != DEK_BYTES:
                    raise IntegrityFailure("dek length", reply.request_id)
        return Unwrapped(DataKey(plaintext), used, reply.request_id)

    async def re_encrypt(
        self,
        wrapped: WrappedDek,
        source_context: Mapping[str, str],
        destination_key_arn: str,
        destination_context: Mapping[str, str],
    ) -> Rewrapped:
        """Move a DEK to another key inside KMS, naming both keys and checking the reply (kms:ReEncrypt).

        No plaintext enters this process (invariant 7). It is never retried: the caller paces itself.

        Raises:
            IntegrityFailure: the stored key id is not a key ARN of the stored Region; the blob is empty or
                too long; KMS says that it was not made by this key and context; or the reply names other
                keys or holds no new ciphertext.
            KmsThrottled, KmsUnavailable: KMS did not serve the call.
            KmsKeyUnusable: one of the two keys refuses; KMS does not say which.
        """
        _check_stored(wrapped)
        with self._call("ReEncrypt", wrapped.key_arn, source_context["purpose"]) as call:
            served = await self.regions.ask(
                call,
                wrapped.key_arn,
                {
                    "CiphertextBlob": _text(wrapped.blob),
                    "SourceKeyId": wrapped.key_arn,
                    "SourceEncryptionContext": dict(source_context),
                    "DestinationKeyId": destination_key_arn,
                    "DestinationEncryptionContext": dict(destination_context),
                },
            )
            reply, source = served.reply, _expected_arn(wrapped.key_arn, served)
            destination = _expected_arn(destination_key_arn, served)
            if (reply.text("SourceKeyId"), reply.text("KeyId")) != (source, destination):
                raise IntegrityFailure("reply names other keys", reply.request_id)
            blob = reply.blob("CiphertextBlob")
            if not 0 < len(blob) <= MAX_BLOB_BYTES or blob == wrapped.blob:
                raise IntegrityFailure("reply holds no new ciphertext", reply.request_id)
            material = reply.text_or_none("DestinationKeyMaterialId")
        return Rewrapped(WrappedDek(destination, served.region, blob), material, reply.request_id)

    async def describe(self, key: str) -> KeyMetadata:
        """What KMS says about an ARN or `alias/…` (kms:DescribeKey), as a key of the first Region.

        If the second Region answers instead, only a replica's description counts, and no refusal of an alias:
        an alias that is missing there says nothing about the key here.

        Raises:
            KmsThrottled, KmsKeyUnusable, KmsUnavailable: KMS did not serve the call.
        """
        with self._call("DescribeKey", key) as call:
            try:
                served = await self.regions.ask(call, key, {"KeyId": key})
            except KmsKeyUnusable as error:
                if call.region != self.region and not key.startswith("arn:"):
                    raise KmsUnavailable(f"{error.reason} in {call.region}", key, call.request_id) from None
                raise
            reply = served.reply.within("KeyMetadata")
            key_arn = reply.text("Arn")
            if not arn.is_key(key_arn):
                raise KmsUnavailable("reply describes no key", key, reply.request_id)
            if served.region != self.region:
                if not arn.is_multi_region(key_arn):
                    raise KmsUnavailable(f"another key in {served.region}", key, reply.request_id)
                key_arn = self.pool_arn(key_arn)
            return KeyMetadata(
                key_arn,
                state=reply.text("KeyState"),
                # KMS always returns it. Stand-ins leave it out for a key that was created without it.
                usage=reply.text_or_none("KeyUsage") or "ENCRYPT_DECRYPT",
                spec=reply.text("KeySpec"),
                created_at=reply.time("CreationDate"),
            )

    async def rotation(self, key_arn: str) -> KeyRotation:
        """The automatic rotation of a key, even of one that cannot have any (kms:GetKeyRotationStatus).

        Raises:
            KmsThrottled, KmsKeyUnusable, KmsUnavailable: KMS did not serve the call.
        """
        try:
            with self._call("GetKeyRotationStatus", key_arn) as call:
                reply = (await self.regions.ask(call, key_arn, {"KeyId": key_arn})).reply
                return KeyRotation(
                    reply.flag("KeyRotationEnabled"),
                    reply.number("RotationPeriodInDays"),
                    reply.time("NextRotationDate"),
                )
        except KmsUnsupported:
            return UNSUPPORTED_ROTATION

    async def materials(self, key_arn: str) -> list[KeyMaterial]:
        """The versions that a key's material has had, oldest first (kms:ListKeyRotations).

        Raises:
            KmsThrottled, KmsKeyUnusable, KmsUnavailable: KMS did not serve the call.
        """
        members = {"KeyId": key_arn, "IncludeKeyMaterial": "ALL_KEY_MATERIAL"}
        dated: list[KeyMaterial] = []
        with self._call("ListKeyRotations", key_arn) as call:
            while True:
                page = (await self.regions.ask(call, key_arn, members)).reply
                dated += [
                    KeyMaterial(each.text_or_none("KeyMaterialId"), each.time("RotationDate"))
                    for each in page.each("Rotations")
                ]
                if page.members.get("Truncated") is not True:
                    break
                members["Marker"] = page.text("NextMarker")
        first = [each for each in dated if each.current_since is None] or [KeyMaterial(None, None)]
        later = [each for each in dated if each.current_since is not None]
        return first[:1] + sorted(later, key=lambda each: str(each.current_since))

    def _label(self, key: str) -> str:
        return self._labels.get(self.pool_arn(key), OTHER)

    @contextmanager
    def _call(self, operation: str, key: str, purpose: str = calls.ADMINISTRATION) -> Iterator[Call]:
        with calls.measure(operation, self._label(key), purpose) as call:
            try:
                yield call
            except Garbled:
                raise KmsUnavailable(GARBLED, key, call.request_id) from None
            except IntegrityFailure as error:
                if operation in _OPENING:
                    raise
                # This operation reads no stored ciphertext, so none can be at fault.
                raise KmsUnavailable(error.reason, key, error.kms_request_id) from None


def _expected_arn(key_arn: str, served: Served) -> str:
    """The only ARN that the reply may give for this key."""
    return arn.in_region(key_arn, served.region)


def _check_stored(wrapped: WrappedDek) -> None:
    if arn.region(wrapped.key_arn) != wrapped.region:
        raise IntegrityFailure("stored key id")
    if not 0 < len(wrapped.blob) <= MAX_BLOB_BYTES:
        # Checked here, since KMS would answer with a validation error, as it does to a mistake of ours.
        raise IntegrityFailure("stored blob's length")


def _text(value: bytes) -> str:
    return b64encode(value).decode()
