"""KMS's answers, as values."""

from dataclasses import dataclass
from datetime import datetime

from kms_service.crypto.material import DataKey, WrappedDek


@dataclass(frozen=True, slots=True)
class Wrapped:
    """A DEK that KMS has just wrapped, and the id of the request."""

    dek: WrappedDek
    request_id: str | None


@dataclass(frozen=True, slots=True)
class Unwrapped:
    """A plaintext DEK, and what unwrapped it. The caller keeps the secret in its own frame (invariant 1).

    Attributes:
        dek: the secret.
        key_arn: the key's ARN in the Region that answered.
        request_id: the id of the KMS request.
    """

    dek: DataKey
    key_arn: str
    request_id: str | None


@dataclass(frozen=True, slots=True)
class Rewrapped:
    """A DEK moved to another key inside KMS.

    Attributes:
        dek: the rewrapped DEK, to be stored.
        key_material_id: which version of the key's material wraps it; None if KMS does not say.
        request_id: the id of the KMS request.
    """

    dek: WrappedDek
    key_material_id: str | None
    request_id: str | None


@dataclass(frozen=True, slots=True)
class KeyRotation:
    """Automatic rotation of a key: its period in days and its next time (UTC), both None while it is off.

    `supported` is False for keys that KMS cannot rotate automatically: imported material, custom key stores.
    """

    enabled: bool
    period_in_days: int | None
    next_at: datetime | None
    supported: bool = True

    @property
    def off(self) -> bool:
        """Whether KMS could rotate the key automatically, and does not."""
        return self.supported and not self.enabled


UNSUPPORTED_ROTATION = KeyRotation(False, None, None, supported=False)


@dataclass(frozen=True, slots=True)
class KeyMaterial:
    """One version of a key's material, and since when it was current (UTC; None for the first version)."""

    material_id: str | None
    current_since: datetime | None


@dataclass(frozen=True, slots=True)
class KeyMetadata:
    """What DescribeKey says about a key, as far as this service reads it.

    Attributes:
        arn: the key's own ARN, even if it was asked for by another name.
        state: in KMS's words, such as `Enabled`.
        usage: `ENCRYPT_DECRYPT` for the keys of a pool.
        spec: `SYMMETRIC_DEFAULT` for the keys of a pool.
        created_at: UTC; None if KMS does not say.
    """

    arn: str
    state: str
    usage: str
    spec: str
    created_at: datetime | None
