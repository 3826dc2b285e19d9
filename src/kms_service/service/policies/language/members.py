"""Members of nested values by dotted path, for a call's arguments as for the fields of typed data."""

from collections.abc import Iterator, Mapping
from typing import Any

from kms_service.ethereum.typed_types import Structs, element, is_atomic


def leaves(structs: Structs, root: str) -> Iterator[tuple[str, str]]:
    """Every path in a struct that leads to an atomic type, with that type; arrays add nothing to a path."""
    for member, type_name in structs[root].items():
        base = _base(type_name)
        if is_atomic(base):
            yield member, base
        else:
            yield from ((f"{member}.{path}", leaf) for path, leaf in leaves(structs, base))


def values(structs: Structs, root: str, value: Mapping[str, Any], path: str) -> tuple[str, list[Any]] | None:
    """The atomic type at a path, and all values there; an array gives those of all its elements.

    Returns:
        None if there is no such member, or it is a struct.
    """
    found: list[Any] = [value]
    type_name = root
    for member in path.split("."):
        members = structs.get(type_name, {})
        if member not in members:
            return None
        declared, type_name = members[member], _base(members[member])
        found = [item for each in found for item in _elements(declared, each[member])]
    return (type_name, found) if is_atomic(type_name) else None


def _elements(type_name: str, value: Any) -> Iterator[Any]:
    array = element(type_name)
    if array is None:
        yield value
        return
    for item in value:
        yield from _elements(array[0], item)


def _base(type_name: str) -> str:
    return type_name.partition("[")[0]
