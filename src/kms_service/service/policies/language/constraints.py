"""What a single value must be: one of a list, within bounds, or anything. Parsed once, compared by type.

An allowed value has the type of whatever it is compared with: `"1"` may be a number or a text. A value that
is not valid in that type allows nothing.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

from kms_service.ethereum import json_values
from kms_service.service.policies.language.amounts import amount

Anything = Literal["any"]
ANY: Anything = "any"
MAX_VALUES = 1000


@dataclass(frozen=True, slots=True)
class OneOf:
    """Allowed values, in every type in which they are valid."""

    count: int
    addresses: frozenset[str]
    integers: frozenset[int]
    octets: frozenset[bytes]
    texts: frozenset[str]
    booleans: frozenset[bool]

    def values_of(self, type_name: str) -> frozenset[Any]:
        """The allowed values of an atomic ABI or EIP-712 type."""
        if type_name == "address":
            return self.addresses
        if type_name == "bool":
            return self.booleans
        if type_name == "string":
            return self.texts
        return self.octets if type_name.startswith("bytes") else self.integers


@dataclass(frozen=True, slots=True)
class Bounds:
    """An integer's minimum and maximum, both inclusive; None is no bound, and at most one is None."""

    minimum: int | None
    maximum: int | None

    def hold(self, number: int) -> bool:
        """Whether the number is within the bounds."""
        return (self.minimum is None or number >= self.minimum) and (
            self.maximum is None or number <= self.maximum
        )


Constraint = Anything | OneOf | Bounds


def read(value: Any) -> Constraint:
    """A constraint from JSON: a list of values, `{"min", "max"}`, or `"any"`.

    Raises:
        ValueError: anything else, including an empty list, and bounds that no value meets.
    """
    if value == ANY:
        return ANY
    if isinstance(value, list):
        return _one_of(value)
    if isinstance(value, dict):
        return _bounds(value)
    raise ValueError('must be a list of values, {"min", "max"}, or "any"')


def meets(constraint: Constraint, type_name: str, value: Any) -> bool:
    """Whether a value of an atomic type, as the strict readers return it, meets the constraint."""
    if isinstance(constraint, Bounds):
        return is_integer(type_name) and constraint.hold(value)
    return constraint == ANY or value in constraint.values_of(type_name)


def check_type(constraint: Constraint, type_name: str) -> None:
    """Pass if the constraint makes sense for this atomic type.

    Raises:
        ValueError: there are bounds but the type is not an integer, or a value is not valid in this type.
    """
    if isinstance(constraint, Bounds) and not is_integer(type_name):
        raise ValueError(f"{type_name} has no min and max")
    if isinstance(constraint, OneOf) and len(constraint.values_of(type_name)) != constraint.count:
        raise ValueError(f"has a value that is no {type_name}, or twice the same")


def is_integer(type_name: str) -> bool:
    """Whether values of this atomic type are integers."""
    return type_name.startswith(("uint", "int"))


def _one_of(values: list[Any]) -> OneOf:
    if not 0 < len(values) <= MAX_VALUES:
        raise ValueError(f"must have 1 to {MAX_VALUES} values")
    if not all(isinstance(value, str | int) for value in values):
        raise ValueError("must be a list of strings, integers, true and false")
    return OneOf(
        count=len(values),
        addresses=_readable(json_values.address, values),
        integers=_readable(_integer, values),
        octets=_readable(json_values.octets, values),
        texts=_readable(json_values.text, values),
        booleans=_readable(json_values.boolean, values),
    )


def _integer(value: Any) -> int:
    try:
        return json_values.integer(value)
    except ValueError:
        return amount(value)


def _readable(read_one: Callable[[Any], Any], values: Iterable[Any]) -> frozenset[Any]:
    found = set()
    for value in values:
        try:
            found.add(read_one(value))
        except ValueError:
            continue
    return frozenset(found)


def _bounds(value: dict[str, Any]) -> Bounds:
    if not value or not value.keys() <= {"min", "max"}:
        raise ValueError('must have "min", "max" or both, and nothing else')
    minimum = amount(value["min"]) if "min" in value else None
    maximum = amount(value["max"]) if "max" in value else None
    if minimum is not None and maximum is not None and minimum > maximum:
        raise ValueError("has a min above its max")
    return Bounds(minimum, maximum)
