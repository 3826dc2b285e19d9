"""The pool of customer managed keys: which of them may wrap a new DEK, and the choice among them.

Aliases are looked up here, at start and at refresh, and nowhere else: everything stored names an ARN
(invariant 5).
"""

import secrets
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from kms_service.errors import KmsError, KmsKeyUnusable, KmsUnavailable, NoUsableKey
from kms_service.kms.aws import AwsKmsService, Wrapped
from kms_service.material import DataKey
from kms_service.telemetry import metrics
from kms_service.telemetry.logs import get_logger

KEYS_TRIED = 3
_DESCRIBING_THREADS = 10

log = get_logger()


class KeyStatus(StrEnum):
    """Whether a key can wrap, as last seen."""

    ACTIVE = "Active"
    PENDING_DELETION = "PendingDeletion"
    DISABLED = "Disabled"
    UNAVAILABLE = "Unavailable"


@dataclass(frozen=True, slots=True)
class KmsKeyInfo:
    """One key of the pool as DescribeKey last told it.

    Attributes:
        alias: `alias/…`, the operators' name of the key.
        key_arn: None while the alias has never been resolved.
        status: Active keys wrap new DEKs.
        reason: why a key is not Active, in one word or two; empty for an Active one.
        created_at: UTC.
    """

    alias: str
    key_arn: str | None
    status: KeyStatus
    reason: str
    created_at: datetime | None


class KmsKeyPool:
    """The keys behind the pool's aliases, and a choice among the usable ones by the system's generator."""

    def __init__(self, kms: AwsKmsService, aliases: Sequence[str]) -> None:
        self._kms = kms
        self._aliases = tuple(aliases)
        self._keys: tuple[KmsKeyInfo, ...] = ()

    @property
    def keys(self) -> tuple[KmsKeyInfo, ...]:
        """Every key of the pool, in the order of the aliases' numbers."""
        return self._keys

    @property
    def reasons(self) -> dict[str, str]:
        """Why each key that is not usable is not, by alias."""
        return {key.alias: key.reason for key in self._keys if key.status is not KeyStatus.ACTIVE}

    def refresh(self) -> None:
        """Describe every alias again, all at once; a key that fails becomes unusable, none raises."""
        with ThreadPoolExecutor(min(len(self._aliases), _DESCRIBING_THREADS)) as executor:
            self._keys = tuple(executor.map(self._describe, self._aliases))
        for status in KeyStatus:
            metrics.pool_keys.labels(status.value).set(sum(key.status is status for key in self._keys))

    def wrap(self, dek: DataKey, context: Mapping[str, str]) -> Wrapped:
        """Have KMS encrypt a DEK under a key picked at random; another key when the first one fails.

        Raises:
            KmsThrottled: the account is throttled; siblings share its quota (invariant 6).
            NoUsableKey: no key is usable, or the tried ones failed; names each with its reason.
        """
        usable = [key for key in self._keys if key.status is KeyStatus.ACTIVE]
        failed = self.reasons if not usable else {}
        for key in secrets.SystemRandom().sample(usable, min(KEYS_TRIED, len(usable))):
            try:
                return self._kms.encrypt(str(key.key_arn), dek, context)
            except (KmsKeyUnusable, KmsUnavailable) as error:
                log.warning("key_failed", key=key.alias, reason=error.reason)
                failed[key.alias] = error.reason
        raise NoUsableKey(failed)

    def _describe(self, alias: str) -> KmsKeyInfo:
        try:
            metadata = self._kms.describe(alias)
        except KmsError as error:
            return KmsKeyInfo(alias, None, KeyStatus.UNAVAILABLE, error.reason, None)
        key_arn = str(metadata["Arn"])
        self._kms.label(key_arn, alias)
        status, reason = _status(metadata)
        return KmsKeyInfo(alias, key_arn, status, reason, metadata.get("CreationDate"))


def _status(metadata: Mapping[str, object]) -> tuple[KeyStatus, str]:
    usage, spec = metadata.get("KeyUsage"), metadata.get("KeySpec")
    if (usage, spec) != ("ENCRYPT_DECRYPT", "SYMMETRIC_DEFAULT"):
        return KeyStatus.UNAVAILABLE, f"is a key for {usage} with {spec}"
    state = str(metadata.get("KeyState"))
    if state == "Enabled":
        return KeyStatus.ACTIVE, ""
    if state == "Disabled":
        return KeyStatus.DISABLED, state
    if state == "PendingDeletion":
        return KeyStatus.PENDING_DELETION, state
    return KeyStatus.UNAVAILABLE, state
