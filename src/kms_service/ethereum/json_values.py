"""Reads amounts, bytes, addresses and texts from JSON, strictly: whatever is ambiguous is refused.

Every reader raises ValueError with a message that holds no part of the value.
"""

import re
from typing import Any

from kms_service.ethereum.address import add_checksum

MAX_UINT256 = 2**256 - 1
# A larger JavaScript number may have lost digits before it was sent (RFC 7493, 2.2).
MAX_SAFE_INTEGER = 2**53 - 1
_DECIMAL = re.compile(r"0|-?[1-9][0-9]{0,77}", re.ASCII)
_HEX = re.compile(r"0x[0-9a-fA-F]{1,64}", re.ASCII)
_BYTES = re.compile(r"0x(?:[0-9a-fA-F]{2})*", re.ASCII)
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}", re.ASCII)


def integer(value: Any) -> int:
    """An integer: a JSON integer within ±(2^53 - 1), a decimal string, or 0x hex.

    Raises:
        ValueError: anything else, such as a fraction, a boolean, or a JSON integer that may have lost digits.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        if abs(value) > MAX_SAFE_INTEGER:
            raise ValueError(
                "must be a string from 2^53 on, since JSON readers lose digits of larger numbers"
            )
        return value
    if isinstance(value, str) and _DECIMAL.fullmatch(value):
        return int(value)
    if isinstance(value, str) and _HEX.fullmatch(value):
        return int(value, 16)
    raise ValueError("must be an integer: a JSON integer, a decimal string, or 0x hex of at most 256 bits")


def unsigned_integer(value: Any, maximum: int = MAX_UINT256) -> int:
    """An integer from 0 to `maximum`, in the forms of `integer`.

    Raises:
        ValueError: anything else.
    """
    number = integer(value)
    if not 0 <= number <= maximum:
        raise ValueError("is out of range")
    return number


def octets(value: Any) -> bytes:
    """Bytes: 0x and an even number of hex digits.

    Raises:
        ValueError: anything else.
    """
    if not isinstance(value, str) or not _BYTES.fullmatch(value):
        raise ValueError("must be 0x and an even number of hex digits")
    return bytes.fromhex(value[2:])


def boolean(value: Any) -> bool:
    """A JSON true or false, and nothing else that may count as one.

    Raises:
        ValueError: anything else.
    """
    if not isinstance(value, bool):
        raise ValueError("must be true or false")  # noqa: TRY004 # as in `text`
    return value


def address(value: Any) -> str:
    """An address, 0x and 40 hex digits in lower case or with a valid checksum; returned in EIP-55's form.

    Raises:
        ValueError: anything else; a wrong checksum means a mistyped address.
    """
    if not isinstance(value, str) or not _ADDRESS.fullmatch(value):
        raise ValueError("must be 0x and 40 hex digits")
    right = add_checksum(bytes.fromhex(value[2:]))
    if value not in {right, right.lower()}:
        raise ValueError("must be in lower case or have a right EIP-55 checksum")
    return right


def text(value: Any) -> str:
    """A string that can be encoded in UTF-8; half of a surrogate pair cannot.

    Raises:
        ValueError: anything else.
    """
    if not isinstance(value, str):
        raise ValueError("must be a string")  # noqa: TRY004 # pydantic and callers expect ValueError
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("must be valid Unicode") from None
    return value
