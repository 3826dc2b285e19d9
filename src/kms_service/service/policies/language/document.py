"""Parses a policy's document, strict and unambiguous JSON of at most 64 KiB, and gives its JSON Schema."""

import json
from collections.abc import Sequence
from typing import Annotated, Any, NoReturn, Self

from pydantic import Field, ValidationError, model_validator

from kms_service.errors import CallerError
from kms_service.service.policies.language.calls import Criteria
from kms_service.service.policies.language.rules import Rule

MAX_BYTES = 64 * 1024
MAX_RULES = 200
SCHEMA_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_MISSING = 'is missing; to restrict nothing it says "any"'
# Names that pydantic adds to an error's location to tell alternatives apart; they are not in the document.
_TAGS = frozenset(
    {
        "sign.message", "sign.typed-data", "sign.transaction", "sign.authorization", "private_key.read",
        "private_key.export", "word", "calls", "selectors",
    }
)  # fmt: skip


class InvalidPolicy(CallerError):
    """A policy's document cannot be used; the message lists all `problems`, each with its place."""

    code = "invalid_policy"

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


class Document(Criteria):
    """What a policy allows: whatever matches a rule whose windows have room; without a rule, nothing."""

    rules: Annotated[tuple[Rule, ...], Field(max_length=MAX_RULES)]

    @model_validator(mode="after")
    def _ids_differ(self) -> Self:
        if len({rule.id for rule in self.rules}) != len(self.rules):
            raise ValueError("has two rules of one id")
        return self


def parse(text: bytes) -> Document:
    """The document in these bytes.

    Raises:
        InvalidPolicy: it is too long, ambiguous, not JSON or not a policy; lists every problem's place.
    """
    if len(text) > MAX_BYTES:
        raise InvalidPolicy([f"has more than {MAX_BYTES} bytes"])
    try:
        members = json.loads(
            text.decode(), object_pairs_hook=_unique, parse_constant=_refuse, parse_float=_refuse
        )
    except (ValueError, RecursionError) as error:
        raise InvalidPolicy([f"is not JSON that a policy may be: {error}"]) from None
    try:
        return Document.model_validate(members)
    except ValidationError as error:
        problems = [f"{_place(detail['loc'])}{_message(detail)}" for detail in error.errors()]
    raise InvalidPolicy(problems)


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a policy's document, as far as one can express what `parse` checks."""
    return {"$schema": SCHEMA_DIALECT, "title": "kms-service policy", **Document.model_json_schema()}


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member's name is repeated")
    return members


def _refuse(number: str) -> NoReturn:
    raise ValueError(f"{number} is a number that loses digits; write a string")


def _place(location: Sequence[str | int]) -> str:
    names = [str(part) for part in location if part not in _TAGS]
    return f"{'.'.join(names)}: " if names else ""


def _message(detail: Any) -> str:
    if detail["type"] == "missing":
        return _MISSING
    if detail["type"] == "tuple_type":
        return "must be a list"
    if detail["type"] == "extra_forbidden":
        return "is not a member that a policy knows here"
    return str(detail["msg"]).removeprefix("Value error, ")
