"""What a transaction may call: a function whose decoded arguments meet constraints, or a selector."""

from collections.abc import Iterable
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainValidator,
    Tag,
    WithJsonSchema,
    model_validator,
)
from pydantic.alias_generators import to_camel

from kms_service.ethereum.abi import ARGUMENTS, Function, parse_function
from kms_service.service.policies.language import constraints, members
from kms_service.service.policies.language.constraints import ANY, Anything, Constraint
from kms_service.service.policies.language.lists import MaxBytes, Selectors

MAX_FUNCTIONS = 50
_AMOUNT = {"type": "string"}
_CONSTRAINT = {
    "anyOf": [
        {"const": ANY},
        {
            "type": "array",
            "minItems": 1,
            "maxItems": constraints.MAX_VALUES,
            "items": {"type": ["string", "integer", "boolean"]},
        },
        {
            "type": "object",
            "properties": {"min": _AMOUNT, "max": _AMOUNT},
            "minProperties": 1,
            "additionalProperties": False,
        },
    ]
}

ConstraintField = Annotated[Constraint, PlainValidator(constraints.read), WithJsonSchema(_CONSTRAINT)]


class Criteria(BaseModel):
    """The base of all parts of a document: frozen, and unknown members are errors."""

    model_config = ConfigDict(
        alias_generator=to_camel, extra="forbid", frozen=True, hide_input_in_errors=True
    )


def _where(value: Any) -> Anything | dict[str, Constraint]:
    if value == ANY:
        return ANY
    if not isinstance(value, dict):
        raise ValueError('must be an object of constraints, or "any"')  # noqa: TRY004 # pydantic's error
    return {path: _read(path, constraint) for path, constraint in value.items()}


def _read(path: str, constraint: Any) -> Constraint:
    try:
        return constraints.read(constraint)
    except ValueError as error:
        raise ValueError(f"{path} {error}") from None


Where = Annotated[
    Anything | dict[str, Constraint],
    PlainValidator(_where),
    WithJsonSchema({"anyOf": [{"const": ANY}, {"type": "object", "additionalProperties": _CONSTRAINT}]}),
]


class FunctionCall(Criteria):
    """A call of one function; `where` names every parameter of it, or is "any"."""

    function: Annotated[
        Function, PlainValidator(parse_function), WithJsonSchema({"type": "string", "maxLength": 2000})
    ]
    where: Where

    @model_validator(mode="after")
    def _names_every_parameter(self) -> Self:
        if self.where == ANY:
            return self
        types = dict(members.leaves(self.function.structs, ARGUMENTS))
        for path, constraint in self.where.items():
            _check_argument(path, constraint, types)
        for path in types:
            if not any(above in self.where for above in _with_parents(path)):
                raise ValueError(f'where does not name {path}; to restrict nothing it says "any"')
        return self


class SelectorCall(Criteria):
    """A call of a function known only by its selector, or of any function, with a maximum length of data."""

    selectors: Selectors
    max_bytes: MaxBytes


def _check_argument(path: str, constraint: Constraint, types: dict[str, str]) -> None:
    if path in types:
        try:
            constraints.check_type(constraint, types[path])
        except ValueError as error:
            raise ValueError(f"where: {path} {error}") from None
    # A tuple as a whole may be "any", but has no value of its own to compare.
    elif constraint != ANY or not any(leaf.startswith(f"{path}.") for leaf in types):
        raise ValueError(f"where: {path} is no parameter of this function")


def _with_parents(path: str) -> Iterable[str]:
    """The path itself, and the paths of the tuples that contain it."""
    parts = path.split(".")
    return (".".join(parts[:length]) for length in range(len(parts), 0, -1))


def _as_list(value: Any) -> Any:
    if value == []:
        raise ValueError("must not be empty")
    return [value] if isinstance(value, dict) else value


def _kind_of_call(value: Any) -> str:
    return "calls" if isinstance(value, list) else "word"


def _kind_of_item(value: Any) -> str:
    return "selectors" if isinstance(value, dict) and "selectors" in value else "function"


_Item = Annotated[
    Annotated[FunctionCall, Tag("function")] | Annotated[SelectorCall, Tag("selectors")],
    Discriminator(_kind_of_item),
]
_Items = Annotated[tuple[_Item, ...], Field(max_length=MAX_FUNCTIONS)]


def _schema_of_call(schema: dict[str, Any]) -> None:
    """Say in the JSON Schema that a single call need not be in a list."""
    listed = next(choice for choice in schema["oneOf"] if choice.get("type") == "array")
    schema["anyOf"] = [*schema.pop("oneOf"), listed["items"]]


Call = Annotated[
    Annotated[Literal["none", "any"], Tag("word")] | Annotated[_Items, Tag("calls")],
    Discriminator(_kind_of_call),
    BeforeValidator(_as_list),
    Field(json_schema_extra=_schema_of_call),
]
