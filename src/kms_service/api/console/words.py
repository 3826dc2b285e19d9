"""Times, spans, rates and counts in the page's words."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from kms_service.service.overview import Part

# A reading older than this is marked as old.
FRESH_SECONDS = 30.0
_LISTED = 6
_A_MINUTE = 60


def clock(at: datetime) -> str:
    """A time of day, UTC, with the date when it is not today's."""
    same_day = at.date() == datetime.now(at.tzinfo).date()
    return f"{at:%H:%M:%S}" if same_day else f"{at:%Y-%m-%d %H:%M}"


def ago(at: datetime | None, now: datetime) -> str:
    """How long ago, in the largest unit that fits."""
    if at is None:
        return "never"
    seconds = int((now - at).total_seconds())
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length} {unit} ago"
    return f"{max(seconds, 0)} s ago"


def span(seconds: float) -> str:
    """A length of time in the two largest units that fit; beyond a minute to the nearest ten seconds."""
    whole = int(round(seconds, -1) if seconds > _A_MINUTE else round(seconds))
    for (unit, length), (smaller, step) in (
        (("d", 86_400), ("h", 3600)),
        (("h", 3600), ("min", 60)),
        (("min", 60), ("s", 1)),
    ):
        if whole >= length:
            rest = whole % length // step
            return f"{whole // length} {unit} {rest} {smaller}" if rest else f"{whole // length} {unit}"
    return f"{whole} s"


def age(part: Part[Any], now: datetime) -> str:
    """How old a part is, if it was not read just now; empty for a fresh one."""
    if part.taken_at is None:
        since = "" if part.lost_since is None else f" since {clock(part.lost_since)}"
        return f"unknown{since}"
    old = part.lost_since is not None or (now - part.taken_at).total_seconds() > FRESH_SECONDS
    return f"as of {clock(part.taken_at)}" if old else ""


def rate(count: float, seconds: float) -> str:
    """A rate per second, or per minute where that reads better."""
    a_second = count / max(seconds, 1.0)
    if a_second >= 100 or count == 0:  # noqa: PLR2004 # where decimals only flicker
        return f"{a_second:,.0f}/s"
    return f"{a_second:,.1f}/s" if a_second >= 1 else f"{a_second * 60:,.1f}/min"


def most_frequent(counts: Mapping[str, float]) -> Sequence[tuple[str, str]]:
    """Names and counts, the most frequent first."""
    return [(name, f"{count:,.0f}") for name, count in sorted(counts.items(), key=lambda item: -item[1])][
        :_LISTED
    ]
