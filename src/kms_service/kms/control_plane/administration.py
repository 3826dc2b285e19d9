"""KMS calls that make and inspect keys, for operators' commands; a serving process makes none of them."""

import asyncio
import json
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from kms_service.kms.answers import UNSUPPORTED_ROTATION, KeyMetadata, KeyRotation
from kms_service.kms.control_plane.client import ControlPlane
from kms_service.kms.control_plane.failure import AdministrationFailed
from kms_service.kms.keys.info import KeyStatus, status_of
from kms_service.settings import Settings

if TYPE_CHECKING:
    from types_boto3_kms.type_defs import TagTypeDef

__all__ = ["AdministrationFailed", "FoundKey", "KeyAdministration"]

_Read = TypeVar("_Read")
REPLICA_LOOK_SECONDS = 1.0
REPLICA_LOOKS = 60


@dataclass(frozen=True, slots=True)
class FoundKey:
    """Everything about a key that provisioning looks at."""

    key_arn: str
    status: KeyStatus
    reason: str
    rotation: KeyRotation
    policy: dict[str, Any]
    tags: dict[str, str]
    description: str


@dataclass(frozen=True, slots=True)
class KeyFacts:
    """A key as far as these credentials may read it: `policy` and `tags` are None if they may not."""

    key_arn: str
    status: KeyStatus
    reason: str
    rotation: KeyRotation
    policy: dict[str, Any] | None
    tags: dict[str, str] | None


class KeyAdministration:
    """Makes and inspects keys. Every method raises AdministrationFailed when KMS does not do as asked."""

    def __init__(self, kms: ControlPlane) -> None:
        self._kms = kms

    @property
    def region(self) -> str:
        """The Region whose keys these are."""
        return self._kms.region

    async def aliases(self) -> dict[str, str]:
        """The key id of each alias in the account and Region that names a key."""
        entries = await self._kms.ask(
            "ListAliases",
            "the account",
            lambda kms: [
                entry for page in kms.get_paginator("list_aliases").paginate() for entry in page["Aliases"]
            ],
        )
        return {entry["AliasName"]: entry["TargetKeyId"] for entry in entries if "TargetKeyId" in entry}

    async def find_tagged_without_alias(self, tag: str) -> dict[str, str]:
        """The ARNs of keys that have this tag and no alias at all, by the tag's value.

        It reads the tags of every key without an alias, so it is slow, and for repairs only.
        """
        named = set((await self.aliases()).values())
        keys = await self._kms.ask(
            "ListKeys",
            "the account",
            lambda kms: [
                entry for page in kms.get_paginator("list_keys").paginate() for entry in page["Keys"]
            ],
        )
        found = {}
        for entry in keys:
            if entry["KeyId"] in named:
                continue
            tags = await self._tags(entry["KeyArn"], default={})
            if tag in tags:
                found[tags[tag]] = entry["KeyArn"]
        return found

    async def inspect(self, key_id: str) -> FoundKey:
        """Everything about a key that provisioning looks at."""
        described, description = await self._kms.ask(
            "DescribeKey",
            key_id,
            lambda kms: _read_description(kms.describe_key(KeyId=key_id)["KeyMetadata"]),
        )
        status, reason = status_of(described)
        return FoundKey(
            key_arn=described.arn,
            status=status,
            reason=reason,
            rotation=await self._rotation(key_id),
            policy=await self._policy(key_id),
            tags=await self._tags(key_id),
            description=description,
        )

    async def facts(self, alias: str) -> KeyFacts:
        """The key that an alias names, as far as these credentials may read it."""
        described, _ = await self._kms.ask(
            "DescribeKey", alias, lambda kms: _read_description(kms.describe_key(KeyId=alias)["KeyMetadata"])
        )
        status, reason = status_of(described)
        return KeyFacts(
            described.arn,
            status,
            reason,
            await self._rotation(described.arn),
            await _unless_denied(self._policy(described.arn)),
            await _unless_denied(self._tags(described.arn)),
        )

    async def state(self, key_id: str) -> str:
        """The state of a key, in KMS's words, such as `Enabled`."""
        return await self._kms.ask(
            "DescribeKey", key_id, lambda kms: str(kms.describe_key(KeyId=key_id)["KeyMetadata"]["KeyState"])
        )

    async def create_key(
        self,
        description: str,
        tags: Mapping[str, str],
        policy: dict[str, Any] | None,
        *,
        multi_region: bool,
    ) -> str:
        """Make a symmetric key with its tags and policy in one step; returns its ARN.

        Without a policy, KMS gives it the default one, under which IAM alone decides who may do what. Whether
        it is a multi-Region key cannot be changed later.
        """
        arguments: dict[str, Any] = {} if policy is None else {"Policy": json.dumps(policy)}
        return await self._kms.ask(
            "CreateKey",
            description,
            lambda kms: kms.create_key(
                Description=description,
                KeyUsage="ENCRYPT_DECRYPT",
                KeySpec="SYMMETRIC_DEFAULT",
                MultiRegion=multi_region,
                Tags=_as_list(tags),
                **arguments,
            )["KeyMetadata"]["Arn"],
        )

    async def replicate(self, key: FoundKey, region: str) -> None:
        """Begin to replicate a multi-Region key to `region`, with its description, policy and tags."""
        await self._kms.ask(
            "ReplicateKey",
            key.key_arn,
            lambda kms: kms.replicate_key(
                KeyId=key.key_arn,
                ReplicaRegion=region,
                Policy=json.dumps(key.policy),
                Description=key.description,
                Tags=_as_list(key.tags),
            ),
        )

    async def wait_until_made(self, replica_arn: str) -> None:
        """Return once a new replica can be given an alias and used.

        Raises:
            AdministrationFailed: that took more than a minute, or KMS failed.
        """
        for _ in range(REPLICA_LOOKS):
            try:
                if await self.state(replica_arn) != "Creating":
                    return
            except AdministrationFailed as error:
                if not error.missing:  # at first the other Region may not know of it
                    raise
            await asyncio.sleep(REPLICA_LOOK_SECONDS)
        raise AdministrationFailed("ReplicateKey", replica_arn, "still Creating")

    async def create_alias(self, alias: str, key_arn: str) -> None:
        """Give a key this alias."""
        await self._kms.ask(
            "CreateAlias", alias, lambda kms: kms.create_alias(AliasName=alias, TargetKeyId=key_arn)
        )

    async def enable_rotation(self, key_arn: str, period_in_days: int) -> None:
        """Have KMS rotate the key's material every `period_in_days`, 90 to 2560."""
        await self._kms.ask(
            "EnableKeyRotation",
            key_arn,
            lambda kms: kms.enable_key_rotation(KeyId=key_arn, RotationPeriodInDays=period_in_days),
        )

    async def rotate_now(self, key_arn: str) -> None:
        """Have KMS rotate the key's material now; older ciphertexts still open (kms:RotateKeyOnDemand)."""
        await self._kms.ask("RotateKeyOnDemand", key_arn, lambda kms: kms.rotate_key_on_demand(KeyId=key_arn))

    async def last_usage(self, key_arn: str) -> datetime | None:
        """When KMS last saw the key used, UTC; None if it has seen no use, or does not say.

        Some Regions and stand-ins do not have this call (kms:GetKeyLastUsage).
        """
        reply = await self._kms.ask(
            "GetKeyLastUsage", key_arn, lambda kms: kms.get_key_last_usage(KeyId=key_arn)
        )
        return reply.get("KeyLastUsage", {}).get("Timestamp")

    async def _policy(self, key_id: str) -> dict[str, Any]:
        return await self._kms.ask(
            "GetKeyPolicy",
            key_id,
            lambda kms: dict(json.loads(kms.get_key_policy(KeyId=key_id, PolicyName="default")["Policy"])),
        )

    async def _rotation(self, key_id: str) -> KeyRotation:
        try:
            return await self._kms.ask(
                "GetKeyRotationStatus",
                key_id,
                lambda kms: _rotation(kms.get_key_rotation_status(KeyId=key_id)),
            )
        except AdministrationFailed as error:
            if error.unsupported:
                return UNSUPPORTED_ROTATION
            raise

    async def _tags(self, key_id: str, default: dict[str, str] | None = None) -> dict[str, str]:
        try:
            return await self._kms.ask(
                "ListResourceTags",
                key_id,
                lambda kms: {
                    tag["TagKey"]: tag["TagValue"]
                    for page in kms.get_paginator("list_resource_tags").paginate(KeyId=key_id)
                    for tag in page["Tags"]
                },
            )
        except AdministrationFailed as error:
            # The account may hold other teams' keys, which this role may not read.
            if default is None or not error.denied:
                raise
            return default


async def _unless_denied(asked: Coroutine[Any, Any, _Read]) -> _Read | None:
    try:
        return await asked
    except AdministrationFailed as error:
        if error.denied:
            return None
        raise


def in_each_region(settings: Settings) -> list[KeyAdministration]:
    """The administration of AWS_REGION, then that of KMS_FALLBACK_REGION if it is set; no I/O yet."""
    regions = [settings, settings.in_fallback_region]
    return [KeyAdministration(ControlPlane(each)) for each in regions if each is not None]


def _as_list(tags: Mapping[str, str]) -> list["TagTypeDef"]:
    return [{"TagKey": name, "TagValue": value} for name, value in tags.items()]


def _read_description(metadata: Mapping[str, Any]) -> tuple[KeyMetadata, str]:
    described = KeyMetadata(
        metadata["Arn"],
        state=metadata["KeyState"],
        usage=metadata.get("KeyUsage", "ENCRYPT_DECRYPT"),
        spec=metadata["KeySpec"],
        created_at=metadata.get("CreationDate"),
    )
    return described, metadata.get("Description", "")


def _rotation(reply: Mapping[str, Any]) -> KeyRotation:
    return KeyRotation(
        reply["KeyRotationEnabled"], reply.get("RotationPeriodInDays"), reply.get("NextRotationDate")
    )
