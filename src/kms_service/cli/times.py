"""Times as they are typed and shown: spans such as 90d, moments, RFC 3339."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from kms_service.store.postgres.times import require_storable

_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


class Span(click.ParamType[timedelta]):
    """`30m`, `12h` or `90d`."""

    name = "span"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """The span, or a usage error."""
        span = _span(str(value))
        if span is None:
            self.fail("must look like 30m, 12h or 90d", param, ctx)
        return span


class Moment(click.ParamType[datetime]):
    """RFC 3339, or a span that reaches back from now. UTC where no offset is given."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """The moment, or a usage error."""
        try:
            at = _moment(str(value))
        except ValueError:
            self.fail(
                "must look like 2026-01-31, 2026-01-31T12:00:00Z, or 12h for the last 12 hours", param, ctx
            )
        try:
            require_storable(at)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return at


def rfc3339(at: datetime | None) -> str | None:
    """RFC 3339 in UTC, as in the service's answers."""
    return None if at is None else at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _moment(value: str) -> datetime:
    span = _span(value)
    if span is not None:
        return datetime.now(UTC) - span
    at = datetime.fromisoformat(value)
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at


def _span(value: str) -> timedelta | None:
    match = re.fullmatch(r"([1-9]\d{0,4})([mhd])", value)
    return None if match is None else timedelta(**{_UNITS[match[2]]: int(match[1])})
