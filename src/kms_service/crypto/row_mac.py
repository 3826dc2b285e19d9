r"""MACs of rows that grant something: a row without a valid one grants nothing. Bytes in, bytes out, no I/O.

    mac = HMAC-SHA-256(key, label ‖ field ‖ field …)

Each field is a 2-byte big-endian length and UTF-8, so that no two rows of one kind have the same encoding.
Each kind of row has its own label, so that a row of one kind never passes for a row of another.

    id of a key = the first 16 bytes of HMAC-SHA-256(key, b"kms-service/row-mac-key\x01")

so that no other key can be stored in its place, not even one that KMS wrapped for the same purpose.
"""

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from enum import Enum
from uuid import UUID

from kms_service.crypto.material import DataKey, RowMac
from kms_service.errors import IntegrityFailure

__all__ = ["LONGEST_FIELD", "RowLabel", "RowMac", "RowMacKeyring", "key_id", "wallet_fields"]

_KEY_LABEL = b"kms-service/row-mac-key\x01"

LONGEST_FIELD = (1 << 16) - 1


class RowLabel(Enum):
    """The kinds of rows that carry a MAC; the last byte of each label is the version of the kind's fields."""

    WALLET = b"kms-service/wallet\x01"
    TOKEN = b"kms-service/token\x01"
    POLICY = b"kms-service/policy\x01"
    SEAL = b"kms-service/seal\x01"
    # Not a row, but the random bytes of a token. The rest of the token is their MAC.
    TOKEN_FORM = b"kms-service/token-form\x01"


def key_id(key: DataKey) -> UUID:
    """The id by which rows name a key of row MACs. It reveals nothing of the key; no two keys share one."""
    return UUID(bytes=hmac.digest(key.reveal(), _KEY_LABEL, "sha256")[:16])


class RowMacKeyring:
    """Makes MACs under one key, and checks those of any key it holds.

    Args:
        making: the id of the key that makes new MACs.
        keys: that key and any others whose MACs pass, by id. The ring owns the secrets.
    """

    def __init__(self, making: UUID, keys: Mapping[UUID, DataKey]) -> None:
        self._making_id, self._making = making, keys[making]
        self._keys = dict(keys)

    @property
    def making_key_id(self) -> UUID:
        """The id of the key that makes new MACs."""
        return self._making_id

    @property
    def key_ids(self) -> frozenset[UUID]:
        """The ids of the keys whose MACs can be checked."""
        return frozenset(self._keys)

    def make(self, label: RowLabel, fields: Iterable[str | bytes]) -> RowMac:
        """The MAC of a row of this kind.

        Args:
            label: what kind of row it is.
            fields: the row's fields in a fixed order. The caller must encode a field that may be absent or
                long in a form that keeps different values apart, such as a digest.

        Raises:
            ValueError: a field is longer than 65535 bytes.
        """
        return RowMac(self._making_id, _mac(self._making, label, fields))

    def verify(self, label: RowLabel, fields: Iterable[str | bytes], mac: RowMac | None) -> None:
        """Pass if `mac` was made for this row by a key of this ring.

        Raises:
            IntegrityFailure: the row has no MAC, one by an unknown key, or one of another row. Whoever wrote
                the row does not hold the key, so the row must not be trusted.
        """
        if mac is None:
            raise IntegrityFailure("row without a MAC")
        key = self._keys.get(mac.key_id)
        if key is None:
            raise IntegrityFailure("row MAC of an unknown key")
        try:
            expected = _mac(key, label, fields)
        except ValueError:
            raise IntegrityFailure("row MAC") from None
        if not hmac.compare_digest(expected, mac.mac):
            raise IntegrityFailure("row MAC")

    def has_made(self, label: RowLabel, field: bytes, beginning: bytes) -> bool:
        """Whether the MAC of this one field under any key of this ring begins with these bytes."""
        macs = (_mac(key, label, (field,)) for key in self._keys.values())
        return any(hmac.compare_digest(mac[: len(beginning)], beginning) for mac in macs)


def wallet_fields(user_id: str, wallet_address: str, compressed_public_key: str) -> tuple[str, str, str]:
    """What a wallet's MAC covers: its user id, EIP-55 address and public key (`0x` and 66 hex digits)."""
    return user_id, wallet_address, compressed_public_key


def _mac(key: DataKey, label: RowLabel, fields: Iterable[str | bytes]) -> bytes:
    mac = hmac.new(key.reveal(), label.value, hashlib.sha256)
    for field in fields:
        mac.update(_encode(field))
    return mac.digest()


def _encode(field: str | bytes) -> bytes:
    data = field.encode() if isinstance(field, str) else field
    if len(data) > LONGEST_FIELD:
        raise ValueError("a field of a row MAC has at most 65535 bytes")
    return len(data).to_bytes(2, "big") + data
