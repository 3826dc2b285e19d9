"""Renders a month of the audit log as one page for people: HTML without scripts or links, for printing."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from kms_service.errors import InvalidRequest
from kms_service.quantity import quantity

if TYPE_CHECKING:
    from jinja2 import Environment


@dataclass(frozen=True, slots=True)
class Month:
    """A calendar month in UTC, from `since` (inclusive) to `until` (exclusive)."""

    since: datetime
    until: datetime

    @property
    def name(self) -> str:
        """The month's name, such as `November 2026`."""
        return f"{self.since:%B %Y}"


@dataclass(frozen=True, slots=True)
class Uses:
    """How often an actor did one action with one outcome, and to how many users' wallets."""

    actor: str
    action: str
    outcome: str
    count: int
    wallets: int


@dataclass(frozen=True, slots=True)
class Day:
    """A day of the month, with its number of releases and of refusals."""

    date: datetime
    released: int
    refused: int


@dataclass(frozen=True, slots=True)
class KeyLine:
    """A key of the pool, as of when the report is made."""

    alias: str
    status: str
    mode: str
    wallets: int
    rotation: str


@dataclass(frozen=True, slots=True)
class Happening:
    """A single event of a rotation, of the seal, of a canary or of a token."""

    at: datetime
    actor: str
    action: str
    outcome: str
    detail: str


@dataclass(frozen=True, slots=True)
class Check:
    """A check for this report, whether it was made or not.

    Attributes:
        name: what is checked.
        passed: None if the check was not made.
        says: the outcome in a sentence, or why the check was not made.
        findings: what it found, one sentence each.
        found: how many findings there are; `findings` may hold only the first of them.
    """

    name: str
    passed: bool | None
    says: str
    findings: Sequence[str] = ()
    found: int = 0


@dataclass(frozen=True, slots=True)
class MonthlyReport:
    """Everything that is on the page."""

    month: Month
    made_at: datetime
    made_by: str
    version: str
    checks: Sequence[Check]
    released: Sequence[Uses]
    refused: Sequence[Uses]
    made: Sequence[Uses]
    days: Sequence[Day]
    keys: Sequence[KeyLine]
    rotations: Sequence[Happening]
    seals: Sequence[Happening]
    canaries: Sequence[Happening]
    tokens: Sequence[Happening]

    @property
    def total_released(self) -> int:
        """Releases in the month."""
        return sum(each.count for each in self.released)

    @property
    def total_refused(self) -> int:
        """Refusals in the month."""
        return sum(each.count for each in self.refused)

    @property
    def total_made(self) -> int:
        """Wallets made in the month."""
        return sum(each.count for each in self.made)

    @property
    def busiest(self) -> int:
        """The highest number of releases and refusals on any day; at least 1."""
        return max([1, *(day.released + day.refused for day in self.days)])


def month_of(text: str) -> Month:
    """The month in a text such as `2026-11`.

    Raises:
        InvalidRequest: the text has another form.
    """
    try:
        since = datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC)
    except ValueError:
        raise InvalidRequest("must look like 2026-11", "month") from None
    return Month(since, (since + timedelta(days=31)).replace(day=1))


def html(report: MonthlyReport) -> str:
    """The page as HTML, with every value escaped."""
    return _templates().get_template("report.html").render(report=report)


@cache
def _templates() -> "Environment":
    # Loaded only when a report is made: no other command needs it.
    from jinja2 import Environment, FunctionLoader, StrictUndefined  # noqa: PLC0415

    def load(name: str) -> str:
        return resources.files("kms_service.service.evidence").joinpath(name).read_text()

    templates = Environment(loader=FunctionLoader(load), autoescape=True, undefined=StrictUndefined)
    templates.globals["quantity"] = quantity
    templates.filters["number"] = lambda value: f"{value:,}"
    templates.filters["clock"] = lambda value: f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
    return templates
