"""Signs with an asymmetric KMS key, as for the manifest of an evidence bundle. For commands."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from kms_service.kms.control_plane.client import ControlPlane
from kms_service.kms.control_plane.failure import AdministrationFailed

if TYPE_CHECKING:
    from types_boto3_kms import KMSClient

_ALGORITHM: Literal["ECDSA_SHA_256"] = "ECDSA_SHA_256"
_SPEC = "ECC_NIST_P256"


@dataclass(frozen=True, slots=True)
class PublicKey:
    """The public half of an asymmetric key: its ARN, and SubjectPublicKeyInfo in DER."""

    key_arn: str
    der: bytes


class KmsSigner:
    """Signs digests under one key of KMS (kms:Sign, kms:GetPublicKey).

    Args:
        kms: the client that is asked.
        key: the ARN, key id or `alias/…` of an ECC_NIST_P256 key for signing.
    """

    def __init__(self, kms: ControlPlane, key: str) -> None:
        self._kms = kms
        self._key = key

    async def public_key(self) -> PublicKey:
        """The key's public half.

        Raises:
            AdministrationFailed: KMS does not return it, or it is a key of another kind.
        """
        arn, spec, algorithms, der = await self._kms.ask("GetPublicKey", self._key, self._describe)
        if spec != _SPEC or _ALGORITHM not in algorithms:
            raise AdministrationFailed("GetPublicKey", self._key, f"not a signing key of {_SPEC}")
        return PublicKey(arn, der)

    async def sign(self, digest: bytes) -> bytes:
        """An ECDSA signature in DER over a SHA-256 digest; the caller must check it.

        Raises:
            AdministrationFailed: KMS did not sign.
        """
        return await self._kms.ask(
            "Sign",
            self._key,
            lambda kms: kms.sign(
                KeyId=self._key, Message=digest, MessageType="DIGEST", SigningAlgorithm=_ALGORITHM
            )["Signature"],
        )

    def _describe(self, kms: "KMSClient") -> tuple[str, str, Sequence[str], bytes]:
        reply = kms.get_public_key(KeyId=self._key)
        return reply["KeyId"], reply["KeySpec"], reply.get("SigningAlgorithms", ()), reply["PublicKey"]
