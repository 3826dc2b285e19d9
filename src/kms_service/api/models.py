"""What all resources share: camelCase names, strict bodies, and the form of a user id."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Path, Query
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, PlainSerializer, StringConstraints
from pydantic.alias_generators import to_camel

from kms_service.kms.keys import arn
from kms_service.store.postgres.times import require_storable


def _refuse_path_step(value: str) -> str:
    # Clients and proxies resolve these two before a path arrives here.
    if value in {".", ".."}:
        raise ValueError("may not be . or ..")
    return value


def _storable(value: datetime) -> datetime:
    require_storable(value)
    return value


Moment = Annotated[AwareDatetime, AfterValidator(_storable)]
"""A time that a caller gives: it has an offset, and every part of the service can represent it."""

UserId = Annotated[
    str,
    StringConstraints(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9._:@-]+$", strict=True),
    AfterValidator(_refuse_path_step),
]
Timestamp = Annotated[
    datetime, PlainSerializer(lambda at: at.astimezone(UTC).isoformat().replace("+00:00", "Z"))
]
"""RFC 3339 in UTC."""
KmsKeyIdInQuery = Annotated[
    str | None, Query(alias="kmsKeyId", max_length=arn.MAX_LENGTH, pattern=f"^{arn.KEY}$")
]
UserIdInPath = Annotated[UserId, Path(alias="userId", description="The user's id, compared exactly.")]


class RequestModel(BaseModel):
    """A request body: unknown members are refused, and no value is converted."""

    model_config = ConfigDict(
        alias_generator=to_camel, extra="forbid", strict=True, frozen=True, hide_input_in_errors=True
    )


class AnswerModel(BaseModel):
    """An answer: built by field names, rendered in camelCase."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True)


class Problem(AnswerModel):
    """An RFC 9457 problem. `code` is stable; some codes have additional members."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str | None = None
