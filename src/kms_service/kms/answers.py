"""What KMS answered, as values."""

from dataclasses import dataclass
from datetime import datetime

from kms_service.crypto.material import DataKey, WrappedDek


@dataclass(frozen=True, slots=True)
class Wrapped:
    """A DEK wrapped just now, and the KMS request that did it."""

    dek: WrappedDek
    request_id: str | None


@dataclass(frozen=True, slots=True)
class Unwrapped:
    """A plaintext DEK, a secret of the caller's frame (invariant 1), and what opened it.

    Attributes:
        dek: the secret.
        key_arn: of the key, in the Region that answered.
        request_id: the KMS request.
    """

    dek: DataKey
    key_arn: str
    request_id: str | None


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


@dataclass(frozen=True, slots=True)
class KeyRotation:
    """Automatic rotation of a key: every so many days, next at a UTC time; both None while it is off.

    `supported` is False for keys that KMS cannot rotate by itself: imported material, custom key stores.
    """

    enabled: bool
    period_in_days: int | None
    next_at: datetime | None
    supported: bool = True

    @property
    def off(self) -> bool:
        """Whether KMS could rotate the key by itself and does not."""
        return self.supported and not self.enabled


UNSUPPORTED_ROTATION = KeyRotation(False, None, None, supported=False)


@dataclass(frozen=True, slots=True)
class KeyMaterial:
    """One version of a key's material, current from a UTC time on; the first has none."""

    material_id: str | None
    current_since: datetime | None


@dataclass(frozen=True, slots=True)
class KeyMetadata:
    """What DescribeKey says of a key, as far as this service reads it.

    Attributes:
        arn: the key's own ARN, whatever name was asked for.
        state: KMS's word, such as `Enabled`.
        usage: `ENCRYPT_DECRYPT` for the keys of a pool.
        spec: `SYMMETRIC_DEFAULT` for the keys of a pool.
        created_at: UTC; None when KMS does not say.
    """

    arn: str
    state: str
    usage: str
    spec: str
    created_at: datetime | None
