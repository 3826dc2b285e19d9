"""Reads EIP-712 typed data from a caller: checks it against its types, and makes unambiguous values of it.

eth_account's encoder is lenient where a signer must not be: it encodes a missing member as zero, ignores an
unknown one, pads short bytes, takes "false" for a boolean, and any length for a fixed array. So it only gets
values that this module has read strictly.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from string import ascii_lowercase
from typing import Any

from kms_service.errors import InvalidRequest
from kms_service.ethereum import json_values, typed_types
from kms_service.ethereum.typed_types import Structs

DOMAIN_TYPE = "EIP712Domain"
DOMAIN_MEMBERS = {
    "name": "string",
    "version": "string",
    "chainId": "uint256",
    "verifyingContract": "address",
    "salt": "bytes32",
}
# Encoding hashes all types again for every struct value; this bounds it to a fraction of a second.
MAX_WORK = 100_000


@dataclass(frozen=True, slots=True)
class TypedData:
    """Typed data ready to be encoded.

    Attributes:
        domain: the given members of EIP712Domain, as int, str or bytes.
        structs: the primary type first, then the structs it is made of.
        message: a value for every member, as int, bool, str, bytes, list or dict.
    """

    domain: Mapping[str, Any]
    structs: Structs
    message: Mapping[str, Any]


def read(
    domain: Mapping[str, Any],
    types: Mapping[str, Sequence[tuple[str, str]]],
    primary_type: str | None,
    message: Mapping[str, Any],
) -> TypedData:
    """Read typed data from its four JSON members.

    `types` may hold EIP712Domain, if that agrees with the domain's members.

    Raises:
        InvalidRequest: a member is missing, unknown, of another type or out of range; names the first one.
    """
    _check_domain_type(domain, types)
    structs = typed_types.read_types(
        {name: members for name, members in types.items() if name != DOMAIN_TYPE}
    )
    primary = typed_types.primary(structs, primary_type)
    used = typed_types.reachable(structs, primary)
    reader = _Reader(used)
    return TypedData(_read_domain(domain), used, reader.struct(primary, message, "message"))


def _check_domain_type(domain: Mapping[str, Any], types: Mapping[str, Sequence[tuple[str, str]]]) -> None:
    expected = [(name, kind) for name, kind in DOMAIN_MEMBERS.items() if name in domain]
    if DOMAIN_TYPE in types and list(types[DOMAIN_TYPE]) != expected:
        raise InvalidRequest("must be the members of domain, in EIP-712's order", f"types.{DOMAIN_TYPE}")


def _read_domain(domain: Mapping[str, Any]) -> dict[str, Any]:
    if not domain.keys() <= DOMAIN_MEMBERS.keys():
        raise InvalidRequest("has a member that EIP-712 does not know", "domain")
    return {name: _atom(DOMAIN_MEMBERS[name], value, f"domain.{name}") for name, value in domain.items()}


class _Reader:
    """Reads one message, and adds up how much work its encoding will be."""

    def __init__(self, structs: Structs) -> None:
        self._structs = structs
        self._work = 0
        self._work_per_struct = sum(1 + len(members) for members in structs.values())

    def struct(self, name: str, value: Any, path: str) -> dict[str, Any]:
        members = self._structs[name]
        self._work += self._work_per_struct
        if self._work > MAX_WORK:
            raise InvalidRequest("is too large", "message")
        if not isinstance(value, dict):
            raise InvalidRequest("must be an object", path)
        if not value.keys() <= members.keys():
            raise InvalidRequest("has a member that its type does not have", path)
        return {member: self._member(value, member, kind, path) for member, kind in members.items()}

    def _member(self, value: Mapping[str, Any], member: str, type_name: str, path: str) -> Any:
        path = f"{path}.{member}"
        if member not in value:
            raise InvalidRequest("is missing", path)
        return self._value(type_name, value[member], path)

    def _value(self, type_name: str, value: Any, path: str) -> Any:
        array = typed_types.element(type_name)
        if array is not None:
            return self._array(*array, value, path)
        if typed_types.is_atomic(type_name):
            return _atom(type_name, value, path)
        return self.struct(type_name, value, path)

    def _array(self, type_name: str, length: int | None, value: Any, path: str) -> list[Any]:
        if not isinstance(value, list):
            raise InvalidRequest("must be an array", path)
        if length is not None and len(value) != length:
            raise InvalidRequest(f"must have {length} elements", path)
        return [self._value(type_name, item, f"{path}.{index}") for index, item in enumerate(value)]


def _atom(type_name: str, value: Any, path: str) -> Any:
    try:
        return _reader(type_name)(value)
    except ValueError as error:
        raise InvalidRequest(str(error), path) from None


@cache
def _reader(type_name: str) -> Callable[[Any], Any]:
    named: dict[str, Callable[[Any], Any]] = {
        "bool": json_values.boolean,
        "address": json_values.address,
        "string": json_values.text,
        "bytes": json_values.octets,
    }
    if type_name in named:
        return named[type_name]
    size = int(type_name.lstrip(ascii_lowercase))
    if type_name.startswith("bytes"):
        return lambda value: _octets_of_size(value, size)
    if type_name.startswith("uint"):
        return lambda value: _integer_between(value, 0, 2**size - 1)
    return lambda value: _integer_between(value, -(2 ** (size - 1)), 2 ** (size - 1) - 1)


def _octets_of_size(value: Any, size: int) -> bytes:
    data = json_values.octets(value)
    if len(data) != size:
        raise ValueError(f"must have {size} bytes")
    return data


def _integer_between(value: Any, lowest: int, highest: int) -> int:
    number = json_values.integer(value)
    if not lowest <= number <= highest:
        raise ValueError("is out of range for its type")
    return number
