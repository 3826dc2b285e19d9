"""The small charts of the last quarter of an hour: where each column stands, and its height."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kms_service.telemetry.recent import Counts, Recent

HEIGHT = 32.0
# Even one failure in a thousand must be visible.
_LEAST = 2.0


@dataclass(frozen=True, slots=True)
class Column:
    """One minute: `x` from the left, `height` of all and `failed` of it, in the drawing's units."""

    x: int
    height: float
    failed: float


@dataclass(frozen=True, slots=True)
class Spark:
    """One chart, and the same in words."""

    columns: Sequence[Column]
    words: str


def sparks(recent: Recent | None) -> Mapping[str, Spark]:
    """The charts of requests and of calls to KMS."""
    minutes = [] if recent is None else recent.minutes
    return {
        "requests": _spark([None if minute is None else minute.requests for minute in minutes]),
        "kms_calls": _spark([None if minute is None else minute.kms_calls for minute in minutes]),
    }


def _spark(minutes: Sequence[Counts | None]) -> Spark:
    most = max((counts.all for counts in minutes if counts is not None), default=0.0)
    columns = [
        _column(place, counts, most)
        for place, counts in enumerate(minutes)
        if counts is not None and counts.all
    ]
    known = [counts for counts in minutes if counts is not None]
    worst = max((counts.failed_share for counts in known), default=0.0)
    words = f"at most {most:,.0f} in one of {len(known)} known minutes; in the worst one {worst:.1%} failed"
    return Spark(columns, words if known else "no whole minute is known yet")


def _column(place: int, counts: Counts, most: float) -> Column:
    height = max(HEIGHT * counts.all / most, _LEAST)
    failed = max(HEIGHT * counts.failed / most, _LEAST) if counts.failed else 0.0
    return Column(place * 8, round(height, 1), round(failed, 1))
