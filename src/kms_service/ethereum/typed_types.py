"""The types of EIP-712 typed data: what a `types` member may declare, and which of them is the primary type.

This is stricter than the usual encoders: a name that is not an identifier could change the meaning of the
type string that is hashed, and a type that is declared twice or shadowed has two meanings.
Source: https://eips.ethereum.org/EIPS/eip-712, "Definition of typed structured data".
"""

import re
from collections.abc import Iterator, Mapping, Sequence

from kms_service.errors import InvalidRequest

Structs = Mapping[str, Mapping[str, str]]
"""Each struct's members, type by name, in the order in which they are signed."""

MAX_DEPTH = 32
_IDENTIFIER = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]{0,63}", re.ASCII)
_TYPE = re.compile(r"([A-Za-z_$][A-Za-z0-9_$]{0,63})((?:\[(?:[1-9][0-9]{0,4})?\]){0,8})", re.ASCII)
_LAST_DIMENSION = re.compile(r"(.+)\[([0-9]*)\]", re.ASCII)
# The EIP has no aliases `uint` and `int`.
_ATOMIC = frozenset(
    ["bool", "address", "string", "bytes"]
    + [f"bytes{size}" for size in range(1, 33)]
    + [f"{kind}{bits}" for kind in ("int", "uint") for bits in range(8, 257, 8)]
)
_LIKE_ATOMIC = re.compile(r"(?:bool|address|string|bytes\d*|u?int\d*)", re.ASCII)


def is_atomic(name: str) -> bool:
    """Whether `name` is one of EIP-712's own types, and neither an array nor a struct."""
    return name in _ATOMIC


def element(type_name: str) -> tuple[str, int | None] | None:
    """An array type's element type, and its length if that is fixed; None if it is not an array type."""
    array = _LAST_DIMENSION.fullmatch(type_name)
    if array is None:
        return None
    return array[1], int(array[2]) if array[2] else None


def read_types(types: Mapping[str, Sequence[tuple[str, str]]]) -> Structs:
    """The structs of a `types` member, each a list of member names and types.

    Raises:
        InvalidRequest: a struct is malformed, declares a member twice, refers to an unknown type, contains
            itself, or nests deeper than 32; names it.
    """
    for name, members in types.items():
        _check_struct(name, members, types)
    structs = {name: dict(members) for name, members in types.items()}
    heights: dict[str, int] = {}
    for name in structs:
        _measure(name, structs, heights, ())
    return structs


def primary(structs: Structs, given: str | None) -> str:
    """The primary type: the given one, or the only struct that no other uses.

    Raises:
        InvalidRequest: the given one is not declared, or none is given and there is no single candidate.
    """
    if given is not None:
        if given not in structs:
            raise InvalidRequest("is not among the types", "primaryType")
        return given
    used = {base for members in structs.values() for base in map(_base, members.values())}
    unused = [name for name in structs if name not in used]
    if len(unused) != 1:
        raise InvalidRequest("is needed, because not exactly one type is unused by the others", "primaryType")
    return unused[0]


def reachable(structs: Structs, root: str) -> Structs:
    """The structs that `root` is made of, `root` first."""
    found: dict[str, Mapping[str, str]] = {}
    waiting = [root]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = structs[name]
            waiting.extend(_children(structs, name))
    return found


def _check_struct(
    name: str, members: Sequence[tuple[str, str]], types: Mapping[str, Sequence[tuple[str, str]]]
) -> None:
    if not _IDENTIFIER.fullmatch(name) or _LIKE_ATOMIC.fullmatch(name):
        raise InvalidRequest("a type's name must be an identifier and not a built-in type", "types")
    field = f"types.{name}"
    if len({member for member, _ in members}) != len(members):
        raise InvalidRequest("declares a member twice", field)
    for member, type_name in members:
        if not _IDENTIFIER.fullmatch(member):
            raise InvalidRequest("a member's name must be an identifier", field)
        shape = _TYPE.fullmatch(type_name)
        if shape is None or not (is_atomic(shape[1]) or shape[1] in types):
            raise InvalidRequest("has an unknown type", f"{field}.{member}")


def _measure(name: str, structs: Structs, heights: dict[str, int], ancestors: tuple[str, ...]) -> int:
    """How many structs deep `name` nests; each struct is measured once, however often it is used."""
    if name in ancestors:
        raise InvalidRequest("contains itself", f"types.{name}")
    if name not in heights and len(ancestors) < MAX_DEPTH:
        within = [_measure(child, structs, heights, (*ancestors, name)) for child in _children(structs, name)]
        heights[name] = 1 + max(within, default=0)
    if heights.get(name, MAX_DEPTH + 1) > MAX_DEPTH:
        raise InvalidRequest(f"nests deeper than {MAX_DEPTH}", f"types.{name}")
    return heights[name]


def _children(structs: Structs, name: str) -> Iterator[str]:
    bases = dict.fromkeys(map(_base, structs[name].values()))
    return (base for base in bases if base in structs)


def _base(type_name: str) -> str:
    return type_name.partition("[")[0]
