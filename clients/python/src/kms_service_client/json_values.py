"""Python's integers and bytes as the JSON that the service reads without loss."""

from collections.abc import Mapping
from typing import Any

# Many JSON readers lose digits beyond this (RFC 7493, 2.2), so the service takes larger numbers as text.
_MAX_SAFE_INTEGER = 2**53 - 1


def plain(value: Any) -> Any:
    """The value in JSON's types: bytes as 0x hex, integers from 2^53 on as text, the rest unchanged."""
    if isinstance(value, Mapping):
        return {name: plain(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [plain(member) for member in value]
    if isinstance(value, bytes | bytearray):
        return "0x" + bytes(value).hex()
    if isinstance(value, int) and abs(value) > _MAX_SAFE_INTEGER:
        return str(value)
    return value
