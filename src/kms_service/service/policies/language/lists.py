"""Criteria that are lists of addresses, chains, names or users. Each is parsed into a set, or is `"any"`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, PlainValidator, WithJsonSchema

from kms_service.ethereum import json_values, transactions
from kms_service.service.policies.language.constraints import ANY, MAX_VALUES, Anything

T = TypeVar("T")
CREATION = "creation"
"""A recipient that stands for none: the transaction creates a contract."""

MAX_USER_ID = 128
MAX_TEXT = 1000
_ADDRESS = {"type": "string", "pattern": "^0x[0-9a-fA-F]{40}$"}
_CHAIN = {
    "anyOf": [
        {"type": "integer", "minimum": 0, "maximum": json_values.MAX_SAFE_INTEGER},
        {"type": "string", "pattern": "^(0|[1-9][0-9]*)$"},
    ]
}


@dataclass(frozen=True, slots=True)
class Wallets:
    """Whose wallets a rule is about: users by id, or users whose ids begin with one of the prefixes."""

    user_ids: frozenset[str]
    prefixes: tuple[str, ...]

    def include(self, user_id: str) -> bool:
        """Whether the rule is about this user's wallet."""
        return user_id in self.user_ids or user_id.startswith(self.prefixes)


def _set_of(read_one: Callable[[Any], T]) -> Callable[[Any], Anything | frozenset[T]]:
    def read(value: Any) -> Anything | frozenset[T]:
        return ANY if value == ANY else frozenset(_unique(value, read_one))

    return read


def _unique(value: Any, read_one: Callable[[Any], T]) -> list[T]:
    if not isinstance(value, list) or not 0 < len(value) <= MAX_VALUES:
        raise ValueError(f"must be a list of 1 to {MAX_VALUES} values")
    read = [read_one(item) for item in value]
    if len(set(read)) != len(read):
        raise ValueError("has a value twice")
    return read


def _list_schema(item: dict[str, Any]) -> dict[str, Any]:
    listed = {"type": "array", "items": item, "minItems": 1, "maxItems": MAX_VALUES, "uniqueItems": True}
    return {"anyOf": [{"const": ANY}, listed]}


def _chain(value: Any) -> int:
    return json_values.unsigned_integer(value, transactions.MAX_CHAIN_ID)


def _recipient(value: Any) -> str:
    return CREATION if value == CREATION else json_values.address(value)


def _text(value: Any) -> str:
    text = json_values.text(value)
    if len(text) > MAX_TEXT:
        raise ValueError(f"has more than {MAX_TEXT} characters")
    return text


def _prefix(value: Any) -> str:
    # An empty prefix would mean "any" by accident.
    if not (text := _text(value)):
        raise ValueError("must not be empty")
    return text


def _octets_of_prefix(value: Any) -> bytes:
    return _prefix(value).encode()


def _user(value: Any) -> str:
    if len(text := _prefix(value)) > MAX_USER_ID:
        raise ValueError(f"has more than {MAX_USER_ID} characters")
    return text


def _wallets(value: Any) -> Anything | Wallets:
    if value == ANY:
        return ANY
    if isinstance(value, dict) and value.keys() == {"userIds"}:
        return Wallets(frozenset(_unique(value["userIds"], _user)), ())
    if isinstance(value, dict) and value.keys() == {"prefixes"}:
        return Wallets(frozenset(), tuple(_unique(value["prefixes"], _user)))
    raise ValueError('must be {"userIds": […]}, {"prefixes": […]} or "any"')


def _object_schema(name: str) -> dict[str, Any]:
    items = {"type": "string", "minLength": 1, "maxLength": MAX_USER_ID}
    listed = {"type": "array", "items": items, "minItems": 1, "maxItems": MAX_VALUES, "uniqueItems": True}
    return {"type": "object", "properties": {name: listed}, "required": [name], "additionalProperties": False}


_TEXT = {"type": "string", "maxLength": MAX_TEXT}
_NOT_EMPTY = {**_TEXT, "minLength": 1}

WalletsField = Annotated[
    Anything | Wallets,
    PlainValidator(_wallets),
    WithJsonSchema({"anyOf": [{"const": ANY}, _object_schema("userIds"), _object_schema("prefixes")]}),
]
ChainIds = Annotated[
    Anything | frozenset[int], PlainValidator(_set_of(_chain)), WithJsonSchema(_list_schema(_CHAIN))
]
Addresses = Annotated[
    Anything | frozenset[str],
    PlainValidator(_set_of(json_values.address)),
    WithJsonSchema(_list_schema(_ADDRESS)),
]
Recipients = Annotated[
    Anything | frozenset[str],
    PlainValidator(_set_of(_recipient)),
    WithJsonSchema(_list_schema({"anyOf": [{"const": CREATION}, _ADDRESS]})),
]
Texts = Annotated[
    Anything | frozenset[str], PlainValidator(_set_of(_text)), WithJsonSchema(_list_schema(_TEXT))
]
MessagePrefixes = Annotated[
    Anything | frozenset[bytes],
    PlainValidator(_set_of(_octets_of_prefix)),
    WithJsonSchema(_list_schema(_NOT_EMPTY)),
]


def _selector(value: Any) -> bytes:
    selector = json_values.octets(value)
    if len(selector) != 4:  # noqa: PLR2004 # what a selector is
        raise ValueError("must have 4 bytes")
    return selector


Selectors = Annotated[
    Anything | frozenset[bytes],
    PlainValidator(_set_of(_selector)),
    WithJsonSchema(_list_schema({"type": "string", "pattern": "^0x[0-9a-fA-F]{8}$"})),
]


def _length(value: Any) -> Any:
    # pydantic would read true as 1.
    if value != ANY and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
        raise ValueError('must be a number of bytes, or "any"')
    return value


MaxBytes = Annotated[
    Anything | int,
    BeforeValidator(_length),
    WithJsonSchema({"anyOf": [{"const": ANY}, {"type": "integer", "minimum": 0}]}),
]
