"""The links of an audit chain: a row's MAC covers the MAC of the row before it. Bytes in, bytes out, no I/O.

    mac(n) = HMAC-SHA-256(key, label ‖ mac(n-1) ‖ fields of row n)

Each field is encoded as a presence byte and, if present, a 4-byte big-endian length and UTF-8, so that no two
rows have the same encoding. The chain's id and the row's place in it are the first two fields.
"""

import hashlib
import hmac
from collections.abc import Iterable

from kms_service.crypto.material import DataKey
from kms_service.errors import KmsServiceError

START = bytes(32)
_LABEL = b"kms-service/audit\x01"


class BrokenLink(KmsServiceError):
    """The row is not the one that was written at this place of this chain."""

    code = "audit_chain_broken"


def link(key: DataKey, previous: bytes, fields: Iterable[str | None]) -> bytes:
    """The MAC of a row, 32 bytes; `previous` is the MAC of the row before it, `START` for the first row."""
    mac = hmac.new(key.reveal(), _LABEL + previous, hashlib.sha256)
    for field in fields:
        mac.update(_encode(field))
    return mac.digest()


def verify(key: DataKey, previous: bytes, fields: Iterable[str | None], mac: bytes) -> None:
    """Pass if `mac` is the MAC of this row at this place.

    Raises:
        BrokenLink: this row, its place, or a row before it is not what was written.
    """
    if not hmac.compare_digest(link(key, previous, fields), mac):
        raise BrokenLink("an audit row is not what was written")


def _encode(field: str | None) -> bytes:
    if field is None:
        return b"\x00"
    data = field.encode()
    return b"\x01" + len(data).to_bytes(4, "big") + data
