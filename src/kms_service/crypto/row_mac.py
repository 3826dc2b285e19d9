"""MACs of rows that grant something: without one a row says nothing. Bytes in, bytes out, no I/O.

    mac = HMAC-SHA-256(key, label ‖ field ‖ field …)

Each field is UTF-8 behind a 2-byte big-endian length, so that no two rows of a kind have the same encoding.
Every kind of row has a label of its own, so that no row of one kind passes for one of another.
"""

import hashlib
import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from uuid import UUID

from kms_service.crypto.material import DataKey, RowMac
from kms_service.errors import IntegrityFailure

__all__ = ["LONGEST_FIELD", "RowLabel", "RowMac", "RowMacKey", "RowMacKeyring", "wallet_fields"]

LONGEST_FIELD = (1 << 16) - 1


class RowLabel(Enum):
    """The kinds of rows that carry a MAC; the last byte is the version of the kind's fields."""

    WALLET = b"kms-service/wallet\x01"
    TOKEN = b"kms-service/token\x01"
    POLICY = b"kms-service/policy\x01"
    SEAL = b"kms-service/seal\x01"


@dataclass(frozen=True, slots=True)
class RowMacKey:
    """A key that makes and checks row MACs, by its id. The holder owns the secret."""

    key_id: UUID
    key: DataKey


class RowMacKeyring:
    """Makes MACs under the newest key, and checks those of any key it holds.

    Args:
        keys: oldest first; the last one makes new MACs. It owns the secrets.

    Raises:
        ValueError: there is no key.
    """

    def __init__(self, keys: Sequence[RowMacKey]) -> None:
        if not keys:
            raise ValueError("a keyring holds at least one key")
        self._newest = keys[-1]
        self._keys = {key.key_id: key.key for key in keys}

    @property
    def newest_key_id(self) -> UUID:
        """The id of the key that makes new MACs."""
        return self._newest.key_id

    def holds(self, key_id: UUID) -> bool:
        """Whether MACs of this key can be checked."""
        return key_id in self._keys

    def make(self, label: RowLabel, fields: Iterable[str | bytes]) -> RowMac:
        """The MAC of a row of this kind.

        Args:
            label: what kind of row it is.
            fields: the row's fields in a fixed order; a field that may be absent or is long needs a form of
                the caller's that tells the cases apart, such as a digest.

        Raises:
            ValueError: a field has more than 65535 bytes.
        """
        return RowMac(self._newest.key_id, _mac(self._newest.key, label, fields))

    def verify(self, label: RowLabel, fields: Iterable[str | bytes], mac: RowMac | None) -> None:
        """Pass when `mac` was made for this row by a key of this ring.

        Raises:
            IntegrityFailure: the row has no MAC, one of an unknown key, or one of another row: somebody
                wrote the row who does not hold the key, so it says nothing.
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


def wallet_fields(user_id: str, wallet_address: str, compressed_public_key: str) -> tuple[str, str, str]:
    """What a wallet's MAC covers: its user, its EIP-55 address, its public key (`0x` and 66 hex digits)."""
    return user_id, wallet_address, compressed_public_key


def _mac(key: DataKey, label: RowLabel, fields: Iterable[str | bytes]) -> bytes:
    mac = hmac.new(key.reveal(), label.value, hashlib.sha256)
    for field in fields:
        mac.update(_encoded(field))
    return mac.digest()


def _encoded(field: str | bytes) -> bytes:
    data = field.encode() if isinstance(field, str) else field
    if len(data) > LONGEST_FIELD:
        raise ValueError("a field of a row MAC has at most 65535 bytes")
    return len(data).to_bytes(2, "big") + data
