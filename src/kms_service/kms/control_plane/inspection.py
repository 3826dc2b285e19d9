"""Finds out by KMS's dry runs what a pool's keys allow these credentials to do; nothing is done.

Source: https://docs.aws.amazon.com/kms/latest/developerguide/testing-permissions.html
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from kms_service.crypto.material import DEK_BYTES
from kms_service.kms.control_plane.client import ControlPlane
from kms_service.kms.control_plane.failure import AdministrationFailed
from kms_service.kms.control_plane.key_policy import AUDIT_CHAIN, ROW_MAC, WALLET_DEK

if TYPE_CHECKING:
    from types_boto3_kms import KMSClient


class Action(StrEnum):
    """An action that a dry run can ask about."""

    ENCRYPT = "Encrypt"
    DECRYPT = "Decrypt"
    RE_ENCRYPT = "ReEncrypt"
    DECRYPT_ROW_MAC = "Decrypt with the purpose row-mac"
    ENCRYPT_AUDIT_CHAIN = "Encrypt with the purpose audit-chain"
    ENCRYPT_WITHOUT_PURPOSE = "Encrypt without a purpose"
    DECRYPT_WITHOUT_CONTEXT = "Decrypt without a context"
    GENERATE_DATA_KEY = "GenerateDataKey"
    CREATE_GRANT = "CreateGrant"


class Verdict(StrEnum):
    """What a dry run answered."""

    ALLOWED = "allowed"
    DENIED = "denied"
    UNKNOWN = "not known"


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply of the endpoint: how many seconds it took, and the endpoint's time (UTC), if it was given."""

    seconds: float
    at: datetime | None


class Inspection:
    """Asks KMS without changing anything."""

    def __init__(self, kms: ControlPlane) -> None:
        self._kms = kms

    async def reach(self, alias: str) -> Reply:
        """Ask the endpoint anything; a refusal is an answer too.

        Raises:
            AdministrationFailed: no answer came; the reason is the transport's.
        """
        return await self._kms.ask("DescribeKey", alias, lambda kms: _reach(kms, alias))

    async def asks(self, action: Action, key_arn: str) -> tuple[Verdict, str]:
        """Whether the key's and the caller's policies allow this; with UNKNOWN comes the reason, else ''."""
        try:
            await self._kms.ask(action, key_arn, lambda kms: _dry_run(kms, action, key_arn)())
        except AdministrationFailed as error:
            if error.reason == "DryRunOperationException":
                return Verdict.ALLOWED, ""
            return (Verdict.DENIED, "") if error.denied else (Verdict.UNKNOWN, error.reason)
        return Verdict.UNKNOWN, "the endpoint did it for real: it does not know dry runs"

    async def policies(self, key_arn: str) -> dict[str, dict[str, Any]]:
        """The key's policies by name; a key that is shared through AWS RAM has others than `default`.

        Raises:
            AdministrationFailed: these credentials may not read them, or KMS did not answer.
        """
        return await self._kms.ask("ListKeyPolicies", key_arn, lambda kms: _policies(kms, key_arn))


def _policies(kms: "KMSClient", key_arn: str) -> dict[str, dict[str, Any]]:
    pages = kms.get_paginator("list_key_policies").paginate(KeyId=key_arn)
    names = [name for page in pages for name in page["PolicyNames"]]
    return {
        name: dict(json.loads(kms.get_key_policy(KeyId=key_arn, PolicyName=name)["Policy"])) for name in names
    }


def _reach(kms: "KMSClient", alias: str) -> Reply:
    from botocore.exceptions import ClientError  # noqa: PLC0415 # slow to load: for commands only

    started = time.monotonic()
    try:
        metadata: Any = kms.describe_key(KeyId=alias)["ResponseMetadata"]
    except ClientError as error:
        metadata = error.response["ResponseMetadata"]
    date = metadata.get("HTTPHeaders", {}).get("date")
    return Reply(time.monotonic() - started, None if date is None else parsedate_to_datetime(date))


def _dry_run(kms: "KMSClient", action: Action, key_arn: str) -> Callable[[], object]:
    context = {"purpose": WALLET_DEK}
    nothing = bytes(DEK_BYTES)
    calls: dict[Action, Callable[[], object]] = {
        Action.ENCRYPT: lambda: kms.encrypt(
            KeyId=key_arn, Plaintext=nothing, EncryptionContext=context, DryRun=True
        ),
        Action.DECRYPT: lambda: kms.decrypt(
            KeyId=key_arn, EncryptionContext=context, DryRun=True, DryRunModifiers=["IGNORE_CIPHERTEXT"]
        ),
        Action.DECRYPT_ROW_MAC: lambda: kms.decrypt(
            KeyId=key_arn,
            EncryptionContext={"purpose": ROW_MAC},
            DryRun=True,
            DryRunModifiers=["IGNORE_CIPHERTEXT"],
        ),
        Action.ENCRYPT_AUDIT_CHAIN: lambda: kms.encrypt(
            KeyId=key_arn, Plaintext=nothing, EncryptionContext={"purpose": AUDIT_CHAIN}, DryRun=True
        ),
        Action.RE_ENCRYPT: lambda: kms.re_encrypt(
            SourceKeyId=key_arn,
            SourceEncryptionContext=context,
            DestinationKeyId=key_arn,
            DestinationEncryptionContext=context,
            DryRun=True,
            DryRunModifiers=["IGNORE_CIPHERTEXT"],
        ),
        Action.ENCRYPT_WITHOUT_PURPOSE: lambda: kms.encrypt(KeyId=key_arn, Plaintext=nothing, DryRun=True),
        Action.DECRYPT_WITHOUT_CONTEXT: lambda: kms.decrypt(
            KeyId=key_arn, DryRun=True, DryRunModifiers=["IGNORE_CIPHERTEXT"]
        ),
        Action.GENERATE_DATA_KEY: lambda: kms.generate_data_key(
            KeyId=key_arn, KeySpec="AES_256", EncryptionContext=context, DryRun=True
        ),
        Action.CREATE_GRANT: lambda: kms.create_grant(
            KeyId=key_arn, GranteePrincipal=_root_of(key_arn), Operations=["Decrypt"], DryRun=True
        ),
    }
    return calls[action]


def _root_of(key_arn: str) -> str:
    _, partition, _, _, account, _ = key_arn.split(":")
    return f"arn:{partition}:iam::{account}:root"
