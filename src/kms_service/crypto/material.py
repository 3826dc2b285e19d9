"""Key material that cannot be printed, pickled, serialised, or compared by accident.

Python cannot promise to erase memory, so these types do not pretend to. They make `reveal()` the only way to
a secret, and that is easy to search for.
"""

from dataclasses import dataclass
from typing import NoReturn
from uuid import UUID

DEK_BYTES = 32
PRIVATE_KEY_BYTES = 32


class _Secret:
    __slots__ = ("_value",)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: secret>"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"a {type(self).__name__} is never pickled or copied")

    def __eq__(self, other: object) -> NoReturn:
        raise TypeError(f"a {type(self).__name__} is never compared")

    __hash__ = None  # type: ignore[assignment]  # a secret is never a dictionary key


class DataKey(_Secret):
    """A plaintext data key (DEK): exactly 32 bytes for AES-256-GCM.

    Raises:
        ValueError: the length is wrong; the message holds no byte of it.
    """

    __slots__ = ()

    def __init__(self, value: bytes) -> None:
        if len(value) != DEK_BYTES:
            raise ValueError("a data key has 32 bytes")
        self._value = bytes(value)

    def reveal(self) -> bytes:
        """The 32 bytes, which must not leave the caller's frame (invariant 1)."""
        return self._value


class Mnemonic(_Secret):
    """A BIP-39 phrase: whoever reads it owns the wallet."""

    __slots__ = ()

    def __init__(self, phrase: str) -> None:
        self._value = phrase

    def reveal(self) -> str:
        """The words, separated by single spaces."""
        return self._value


class PrivateKey(_Secret):
    """A secp256k1 private key: exactly 32 bytes, big-endian.

    Raises:
        ValueError: the length is wrong; the message holds no byte of it.
    """

    __slots__ = ()

    def __init__(self, value: bytes) -> None:
        if len(value) != PRIVATE_KEY_BYTES:
            raise ValueError("a private key has 32 bytes")
        self._value = bytes(value)

    def reveal(self) -> bytes:
        """The 32 bytes, which must not leave the caller's frame."""
        return self._value


@dataclass(frozen=True, slots=True)
class WrappedDek:
    """A DEK as KMS encrypted it: not secret, and useless without the key it names.

    Attributes:
        key_arn: the ARN of the customer managed key as KMS returned it, never an alias.
        region: the Region of that key.
        blob: KMS's `CiphertextBlob`, unchanged.
    """

    key_arn: str
    region: str
    blob: bytes


@dataclass(frozen=True, slots=True)
class RowMac:
    """The MAC of a row, 32 bytes, and the id of the key that made it. Not secret."""

    key_id: UUID
    mac: bytes

    @classmethod
    def of_columns(cls, key_id: UUID | None, mac: bytes | None) -> "RowMac | None":
        """The MAC in two columns of a row; None unless both hold something."""
        return None if key_id is None or mac is None else cls(key_id, mac)
