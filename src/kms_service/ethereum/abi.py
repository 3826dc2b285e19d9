"""Parses contract functions in human-readable ABI, and decodes calls of them strictly, by eth_abi.

Only one encoding of a call's arguments is accepted, the one that compilers and wallets make: what was decoded
must encode to the same bytes. Other encodings would reach the same function with arguments that look
different to whoever judges them.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kms_service.ethereum.address import add_checksum, keccak256
from kms_service.ethereum.typed_types import Structs, element, is_atomic

ARGUMENTS = "(arguments)"
"""The name of a function's parameters among its structs; no type can have this name."""

SELECTOR_BYTES = 4
MAX_SIGNATURE = 2000
# Bounds the cost of decoding: arguments can point to the same bytes repeatedly, so nested arrays multiply.
MAX_FIXED_ELEMENTS = 32
_FUNCTION = re.compile(r"(?:function +)?([A-Za-z_$][A-Za-z0-9_$]{0,63}) *\((.*)\)", re.ASCII)
_PARAMETER = re.compile(
    r"(?:tuple)? *(\(.*\)|[a-z][a-z0-9]*)((?:\[(?:[1-9][0-9]{0,3})?\])*)(?: +(?:calldata|memory))?"
    r" +([A-Za-z_$][A-Za-z0-9_$]{0,63})",
    re.ASCII,
)
_ALIASES = {"uint": "uint256", "int": "int256"}


class CallMismatch(Exception):
    """These bytes are not a call of this function in its only accepted encoding."""


@dataclass(frozen=True, slots=True)
class Function:
    """A contract's function.

    Attributes:
        signature: its canonical form, such as `transfer(address,uint256)`.
        selector: the first 4 bytes of every call.
        types: the canonical types of its parameters.
        structs: its parameters as the struct `ARGUMENTS`, and the tuples among them.
    """

    signature: str
    selector: bytes
    types: tuple[str, ...]
    structs: Structs

    def arguments(self, data: bytes) -> Mapping[str, Any]:
        """The arguments of a call by name: int, bool, str, bytes, list or dict; addresses in EIP-55's form.

        Raises:
            CallMismatch: it calls another function, does not decode, or has another encoding.
        """
        from eth_abi.abi import decode, encode
        from eth_abi.exceptions import DecodingError, EncodingError

        if data[:SELECTOR_BYTES] != self.selector:
            raise CallMismatch("another function")
        encoded = data[SELECTOR_BYTES:]
        try:
            values = decode(self.types, encoded, strict=True)
            again = encode(self.types, values)
        # A pointer can be out of range (OverflowError), and text may not be UTF-8 (ValueError).
        except (DecodingError, EncodingError, OverflowError, ValueError) as error:
            raise CallMismatch("does not decode") from error
        if again != encoded:
            raise CallMismatch("not the one encoding")
        return _name(self.structs, ARGUMENTS, values)


def parse_function(text: str) -> Function:
    """A function from human-readable ABI, such as `transfer(address to, uint256 amount)`.

    Every parameter, and every member of a tuple, must have a name. The text may begin with `function`, but
    must not have modifiers or return types after the parameters.

    Raises:
        ValueError: the text is anything else; the message says what is wrong.
    """
    shape = _FUNCTION.fullmatch(text.strip()) if len(text) <= MAX_SIGNATURE else None
    if shape is None:
        raise ValueError("must be a function in human-readable ABI: transfer(address to, uint256 amount)")
    structs: dict[str, dict[str, str]] = {}
    types = _read_struct(ARGUMENTS, shape[2], structs)
    _check_cost(structs, ARGUMENTS, in_array=False)
    signature = f"{shape[1]}({','.join(types)})"
    return Function(signature, keccak256(signature.encode())[:SELECTOR_BYTES], types, structs)


def _read_struct(name: str, text: str, structs: dict[str, dict[str, str]]) -> tuple[str, ...]:
    """Read parameters into `structs[name]`; returns their canonical types, in order."""
    members: dict[str, str] = {}
    structs[name] = members
    canonical = []
    for part in _split(text):
        shape = _PARAMETER.fullmatch(part.strip())
        if shape is None:
            raise ValueError("every parameter must be a type and a name")
        base, dimensions, member = shape[1], shape[2], shape[3]
        if member in members:
            raise ValueError("a parameter's name is repeated")
        if base.startswith("("):
            struct = f"({len(structs)})"
            base = f"({','.join(_read_struct(struct, base[1:-1], structs))})"
            members[member] = struct + dimensions
        else:
            base = _ALIASES.get(base, base)
            if not is_atomic(base):
                raise ValueError("a parameter has an unknown type")
            members[member] = base + dimensions
        canonical.append(base + dimensions)
    return tuple(canonical)


def _split(text: str) -> list[str]:
    """Split the text at the commas that are not within parentheses."""
    if not text.strip():
        return []
    parts, depth, start = [], 0, 0
    for index, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if depth < 0:
            break
        if letter == "," and depth == 0:
            parts.append(text[start:index])
            start = index + 1
    if depth != 0:
        raise ValueError("its parentheses do not match")
    return [*parts, text[start:]]


def _check_cost(structs: Structs, name: str, *, in_array: bool) -> int:
    """Pass if decoding the struct is cheap; returns how many values it holds, with one per open array."""
    total = 0
    for type_name in structs[name].values():
        count, nested = 1, in_array
        while (array := element(type_name)) is not None:
            type_name, length = array  # noqa: PLW2901 # peeled off dimension by dimension
            if length is None and nested:
                raise ValueError("arrays of any length may not stand within one another")
            nested = nested or length is None
            count *= 1 if length is None else length
        if not is_atomic(type_name):
            count *= _check_cost(structs, type_name, in_array=nested)
        total += count
    if total > MAX_FIXED_ELEMENTS:
        raise ValueError(f"has more than {MAX_FIXED_ELEMENTS} values")
    return total


def _name(structs: Structs, name: str, values: Sequence[Any]) -> dict[str, Any]:
    return {
        member: _value(structs, type_name, value)
        for (member, type_name), value in zip(structs[name].items(), values, strict=True)
    }


def _value(structs: Structs, type_name: str, value: Any) -> Any:
    array = element(type_name)
    if array is not None:
        return [_value(structs, array[0], item) for item in value]
    if type_name == "address":
        return add_checksum(bytes.fromhex(value[2:]))
    return value if is_atomic(type_name) else _name(structs, type_name, value)
