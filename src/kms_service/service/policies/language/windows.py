"""Windows: how much or how often within a sliding minute, hour or day, and what a release needs of them."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, StrictInt, WithJsonSchema, model_validator

from kms_service.service.policies.language.amounts import PATTERN, unsigned_amount
from kms_service.store.policies.windows import Need, Period

COUNT = "count"
CALL = "call."
"""The prefix of measures that are arguments of the call."""

NATIVE = ("value", "fee", "value+fee")

UnsignedAmount = Annotated[
    int, PlainValidator(unsigned_amount), WithJsonSchema({"type": "string", "pattern": PATTERN})
]


class Window(BaseModel):
    """Allows at most `maximum` of `measure` within any period of `per`, for each wallet or each token."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    per: Period
    of: Literal["wallet", "token"]
    sum: Annotated[str, Field(pattern=r"^(value|fee|value\+fee|call\.[A-Za-z0-9_$.]{1,200})$")] | None = None
    max: UnsignedAmount | None = None
    count: Annotated[StrictInt, Field(ge=1, le=2**53 - 1)] | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.sum is None) != (self.max is None) or (self.sum is None) == (self.count is None):
            raise ValueError("needs either sum and max, or count")
        return self

    @property
    def measure(self) -> str:
        """What is added up: `count`, or what `sum` says."""
        return self.sum or COUNT

    @property
    def maximum(self) -> int:
        """The maximum sum or count within the period, in the measure's smallest unit."""
        return self.count if self.count is not None else self.max or 0

    @property
    def name(self) -> str:
        """Identifies the window within its rule; it does not change when the maximum does."""
        return f"{self.measure} per {self.per} and {self.of}"


def needs(
    windows: tuple[Window, ...],
    policy: str,
    rule: str,
    subjects: Mapping[str, str],
    taken: Mapping[str, int],
    asset: str,
) -> tuple[Need, ...]:
    """What a release needs of a rule's windows.

    Args:
        windows: the rule's windows.
        policy: the policy's name.
        rule: the rule's id.
        subjects: the user id by `wallet`, and the token's name by `token`.
        taken: the release's amount of each measure.
        asset: chain and contract, for the measures that are arguments of a call.
    """
    return tuple(
        Need(
            policy=policy,
            rule=rule,
            window=window.name,
            subject=subjects[window.of],
            asset=asset if window.measure.startswith(CALL) else "",
            per=window.per,
            amount=taken[window.measure],
            maximum=window.maximum,
        )
        for window in windows
    )


def schema_of_alternatives(schema: dict[str, Any]) -> None:
    """Express in a window's JSON Schema what `_is_one` checks."""
    schema["oneOf"] = [{"required": ["sum", "max"]}, {"required": ["count"]}]
