"""One key of the pool, by DescribeKey, GetKeyRotationStatus, its circuit, and what operators set."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from kms_service.kms.answers import KeyMetadata, KeyRotation
from kms_service.kms.keys import arn
from kms_service.kms.keys.circuit import CircuitState


class KeyStatus(StrEnum):
    """Whether a key can wrap, as last seen."""

    ACTIVE = "Active"
    PENDING_DELETION = "PendingDeletion"
    DISABLED = "Disabled"
    UNAVAILABLE = "Unavailable"


class KeyMode(StrEnum):
    """What operators set for a key: a draining key takes no new wallets and still decrypts."""

    ACTIVE = "active"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True)
class DescribedKey:
    """A key of the pool whose alias has been resolved at least once.

    Attributes:
        alias: `alias/…`, the operators' name for the key.
        key_arn: the key that the alias named when it was last resolved.
        status: Active keys wrap new DEKs, unless they are draining.
        reason: why a key is not Active, in a few words; empty for an Active one.
        created_at: UTC; None if KMS last refused to describe the key.
        mode: set by operators, the same in all replicas.
        circuit: by real traffic; unless it is closed, the status is not Active.
        rotation: None while it is not known, as when the role may not ask.
        moved_from: the ARN that this alias named before it was moved to another key; None if it was not.
        told_at: when KMS last answered a DescribeKey of it, UTC; None if it never did.
        silent_since: since when KMS has not answered DescribeKey, UTC; None while it answers.
        denied: whether KMS refuses to describe the key to these credentials.
    """

    alias: str
    key_arn: str
    status: KeyStatus
    reason: str
    created_at: datetime | None
    mode: KeyMode = KeyMode.ACTIVE
    circuit: CircuitState = CircuitState.CLOSED
    rotation: KeyRotation | None = None
    moved_from: str | None = None
    told_at: datetime | None = None
    silent_since: datetime | None = None
    denied: bool = False

    @property
    def name(self) -> str:
        """The alias without `alias/`, as routes and commands take it."""
        return self.alias.removeprefix("alias/")

    @property
    def region(self) -> str | None:
        """The key's Region."""
        return arn.region(self.key_arn)

    @property
    def usable(self) -> bool:
        """Whether the key could wrap a DEK now, whatever its mode."""
        return self.status is KeyStatus.ACTIVE

    @property
    def wraps(self) -> bool:
        """Whether new wallets may be put under this key."""
        return self.usable and self.mode is KeyMode.ACTIVE


@dataclass(frozen=True, slots=True)
class UnknownKey:
    """An alias of the pool that has never been resolved, so that its key is not known.

    Attributes:
        alias: `alias/…`.
        reason: why, in a few words.
        mode: set by operators, the same in all replicas.
        told_at: when KMS last answered a DescribeKey of it, UTC, even by a refusal; None if it never did.
        silent_since: since when KMS has not answered DescribeKey, UTC; None while it answers.
        missing: whether KMS says that there is no such alias.
        denied: whether KMS refuses to describe it to these credentials.
    """

    alias: str
    reason: str
    mode: KeyMode = KeyMode.ACTIVE
    told_at: datetime | None = None
    silent_since: datetime | None = None
    missing: bool = False
    denied: bool = False
    # The fields that a described key has too, so that both can be shown in the same way.
    key_arn: None = None
    region: None = None
    created_at: None = None
    rotation: None = None
    moved_from: None = None
    status: KeyStatus = KeyStatus.UNAVAILABLE
    circuit: CircuitState = CircuitState.CLOSED
    usable: bool = False
    wraps: bool = False

    @property
    def name(self) -> str:
        """The alias without `alias/`, as routes and commands take it."""
        return self.alias.removeprefix("alias/")


KmsKeyInfo = DescribedKey | UnknownKey

# While KMS updates the primary Region of a key (`Updating`), it still encrypts and decrypts.
_WORKING = frozenset({"Enabled", "Updating"})


def status_of(key: KeyMetadata) -> tuple[KeyStatus, str]:
    """The status that KMS's description gives a key and, unless it is Active, the reason."""
    if (key.usage, key.spec) != ("ENCRYPT_DECRYPT", "SYMMETRIC_DEFAULT"):
        return KeyStatus.UNAVAILABLE, f"is a key for {key.usage} with {key.spec}"
    if key.state in _WORKING:
        return KeyStatus.ACTIVE, ""
    if key.state == "Disabled":
        return KeyStatus.DISABLED, key.state
    if key.state == "PendingDeletion":
        return KeyStatus.PENDING_DELETION, key.state
    return KeyStatus.UNAVAILABLE, key.state
