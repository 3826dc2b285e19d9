"""The KMS calls that make and inspect keys, for operators; the service itself makes none of them."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from kms_service.errors import KmsServiceError
from kms_service.kms.aws import Rotation
from kms_service.kms.keys.info import KeyStatus, status_of

if TYPE_CHECKING:
    from types_boto3_kms import KMSClient


class AdministrationFailed(KmsServiceError):
    """KMS did not do a call that makes or inspects a key. What was done before stays done."""

    code = "kms_administration_failed"

    def __init__(self, operation: str, key: str, reason: str) -> None:
        super().__init__(f"{operation} for {key}: {reason}")
        self.operation = operation
        self.reason = reason


@dataclass(frozen=True, slots=True)
class FoundKey:
    """A key as it is."""

    key_arn: str
    status: KeyStatus
    reason: str
    rotation: Rotation
    policy: dict[str, Any]
    tags: dict[str, str]
    description: str


class KeyAdministration:
    """Makes and inspects keys. Every method raises AdministrationFailed when KMS does not do as asked."""

    def __init__(self, client: "KMSClient") -> None:
        self._client = client

    def aliases(self) -> dict[str, str]:
        """Key id by alias, of all aliases of the account and Region that name a key."""
        with _call("ListAliases", "the account"):
            pages = self._client.get_paginator("list_aliases").paginate()
            entries = [entry for page in pages for entry in page["Aliases"]]
        return {entry["AliasName"]: entry["TargetKeyId"] for entry in entries if "TargetKeyId" in entry}

    def tagged_without_alias(self, tag: str) -> dict[str, str]:
        """Key ARN by value of this tag, of the keys that have it and no alias at all.

        Reads the tags of every key without an alias, so it is for repairs.
        """
        named = set(self.aliases().values())
        with _call("ListKeys", "the account"):
            pages = self._client.get_paginator("list_keys").paginate()
            keys = [entry for page in pages for entry in page["Keys"] if entry["KeyId"] not in named]
        found = {}
        for entry in keys:
            tags = self._tags(entry["KeyArn"], default={})
            if tag in tags:
                found[tags[tag]] = entry["KeyArn"]
        return found

    def inspect(self, key_id: str) -> FoundKey:
        """Everything about a key that provisioning decides on."""
        with _call("DescribeKey", key_id):
            metadata = self._client.describe_key(KeyId=key_id)["KeyMetadata"]
        status, reason = status_of(metadata)
        with _call("GetKeyRotationStatus", key_id):
            reply = self._client.get_key_rotation_status(KeyId=key_id)
        with _call("GetKeyPolicy", key_id):
            policy = self._client.get_key_policy(KeyId=key_id, PolicyName="default")["Policy"]
        return FoundKey(
            key_arn=metadata["Arn"],
            status=status,
            reason=reason,
            rotation=Rotation(
                reply["KeyRotationEnabled"], reply.get("RotationPeriodInDays"), reply.get("NextRotationDate")
            ),
            policy=json.loads(policy),
            tags=self._tags(key_id),
            description=metadata.get("Description", ""),
        )

    def create_key(self, description: str, tags: Mapping[str, str], policy: dict[str, Any] | None) -> str:
        """Make a symmetric key with its tags and policy in one step; its ARN.

        Without a policy KMS gives it the default one, under which IAM alone decides who may do what.
        """
        arguments: dict[str, Any] = {} if policy is None else {"Policy": json.dumps(policy)}
        with _call("CreateKey", description):
            made = self._client.create_key(
                Description=description,
                KeyUsage="ENCRYPT_DECRYPT",
                KeySpec="SYMMETRIC_DEFAULT",
                Tags=[{"TagKey": name, "TagValue": value} for name, value in tags.items()],
                **arguments,
            )
        return made["KeyMetadata"]["Arn"]

    def create_alias(self, alias: str, key_arn: str) -> None:
        """Name the key."""
        with _call("CreateAlias", alias):
            self._client.create_alias(AliasName=alias, TargetKeyId=key_arn)

    def enable_rotation(self, key_arn: str, period_in_days: int) -> None:
        """Have KMS make new material every so many days: 90 to 2560."""
        with _call("EnableKeyRotation", key_arn):
            self._client.enable_key_rotation(KeyId=key_arn, RotationPeriodInDays=period_in_days)

    def rotate_now(self, key_arn: str) -> None:
        """Have KMS make new material now; older blobs go on opening (kms:RotateKeyOnDemand)."""
        with _call("RotateKeyOnDemand", key_arn):
            self._client.rotate_key_on_demand(KeyId=key_arn)

    def last_usage(self, key_arn: str) -> datetime | None:
        """When KMS last saw the key used, UTC; None when it has not since it began to look, or does not say.

        Not every Region and stand-in has this call (kms:GetKeyLastUsage).
        """
        with _call("GetKeyLastUsage", key_arn):
            reply = self._client.get_key_last_usage(KeyId=key_arn)
        return reply.get("KeyLastUsage", {}).get("Timestamp")

    def _tags(self, key_id: str, default: dict[str, str] | None = None) -> dict[str, str]:
        try:
            with _call("ListResourceTags", key_id):
                pages = self._client.get_paginator("list_resource_tags").paginate(KeyId=key_id)
                return {tag["TagKey"]: tag["TagValue"] for page in pages for tag in page["Tags"]}
        except AdministrationFailed as error:
            # Other people's keys in the account may be closed to this role.
            if default is None or error.reason != "AccessDeniedException":
                raise
            return default


@contextmanager
def _call(operation: str, key: str) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", "Unknown"))
        raise AdministrationFailed(operation, key, code) from None
    except BotoCoreError as error:
        raise AdministrationFailed(operation, key, type(error).__name__) from None
