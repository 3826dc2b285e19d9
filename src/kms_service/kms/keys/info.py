"""One key of the pool as DescribeKey, GetKeyRotationStatus, its circuit and the operators tell it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from kms_service.kms.aws import Rotation
from kms_service.kms.keys import arn
from kms_service.kms.keys.circuit import CircuitState


class KeyStatus(StrEnum):
    """Whether a key can wrap, as last seen."""

    ACTIVE = "Active"
    PENDING_DELETION = "PendingDeletion"
    DISABLED = "Disabled"
    UNAVAILABLE = "Unavailable"


class KeyMode(StrEnum):
    """What operators want of a key: a draining one takes no new wallets and still decrypts."""

    ACTIVE = "active"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True)
class KmsKeyInfo:
    """One key of the pool.

    Attributes:
        alias: `alias/…`, the operators' name of the key.
        key_arn: None while the alias has never been resolved.
        status: Active keys wrap new DEKs, unless they are draining.
        reason: why a key is not Active, in one word or two; empty for an Active one.
        created_at: UTC.
        mode: set by operators, the same in all replicas.
        circuit: what real traffic says of the key; anything but closed makes the status other than Active.
        rotation: None while it is not known, as when the role may not ask.
        moved_from: the ARN that this alias named before somebody pointed it at another key.
        told_at: when KMS last answered what this key is, UTC; None while it never did.
        silent_since: when KMS first left that question unanswered, UTC; None while it answers.
    """

    alias: str
    key_arn: str | None
    status: KeyStatus
    reason: str
    created_at: datetime | None
    mode: KeyMode = KeyMode.ACTIVE
    circuit: CircuitState = CircuitState.CLOSED
    rotation: Rotation | None = None
    moved_from: str | None = None
    told_at: datetime | None = None
    silent_since: datetime | None = None

    @property
    def name(self) -> str:
        """The alias without `alias/`, as routes and commands take it."""
        return self.alias.removeprefix("alias/")

    @property
    def region(self) -> str | None:
        """The key's Region; None while the alias has never been resolved."""
        return None if self.key_arn is None else arn.region(self.key_arn)

    @property
    def usable(self) -> bool:
        """Whether the key could wrap a DEK now, whatever operators want of it."""
        return self.status is KeyStatus.ACTIVE

    @property
    def wraps(self) -> bool:
        """Whether new wallets may come under this key."""
        return self.usable and self.mode is KeyMode.ACTIVE


def status_of(metadata: Mapping[str, object]) -> tuple[KeyStatus, str]:
    """What `KeyMetadata` says: the status, and for any but Active the reason."""
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
