"""The page about policies: what is in force, how full its windows are, and which rules refused what."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from kms_service.api.console.attention import Level
from kms_service.bootstrap import Services
from kms_service.errors import KmsServiceError
from kms_service.store.audit.events import AuditRow, Event
from kms_service.store.audit.trail import EventFilter, StoredRow
from kms_service.store.policies.versions import PolicyRow
from kms_service.store.policies.windows import WindowUse

POLICIES_SHOWN = 50
WINDOWS_READ = 500
WINDOWS_SHOWN = 10
REFUSALS_READ = 200
# From here on a window is nearly full.
NEARLY_FULL = 0.8


@dataclass(frozen=True, slots=True)
class WindowBar:
    """A window as it is drawn; `share` is how full it is, 0 to 100."""

    use: WindowUse
    share: float
    level: Level


@dataclass(frozen=True, slots=True)
class PolicyPart:
    """A policy, and the fullest of its windows."""

    row: PolicyRow
    windows: Sequence[WindowBar]
    more: int


@dataclass(frozen=True, slots=True)
class Refusals:
    """What one rule refused among the latest refusals; `rule` is as in the audit log: policy, version, id."""

    rule: str
    count: int
    last_at: datetime
    last_actor: str
    last_reason: str


@dataclass(frozen=True, slots=True)
class PoliciesNow:
    """What the page shows; `problem` says what could not be read, and then other parts may be missing."""

    policies: Sequence[PolicyPart]
    refusals: Sequence[Refusals]
    problem: str | None


async def read(services: Services) -> PoliciesNow:
    """Read what is in force now; what cannot be read is reported, never left out silently."""
    parts: list[PolicyPart] = []
    refusals: Sequence[Refusals] = ()
    try:
        events = await services.audit_trail.page(_REFUSED, before=None, limit=REFUSALS_READ)
        refusals = by_rule(events.events)
        for row in (await services.policies.list_all())[:POLICIES_SHOWN]:
            uses = await services.policies.usage(row.name, limit=WINDOWS_READ, after=None)
            parts.append(_part(row, uses))
    except KmsServiceError as error:
        return PoliciesNow(parts, refusals, str(error))
    return PoliciesNow(parts, refusals, None)


def by_rule(events: Sequence[StoredRow]) -> list[Refusals]:
    """Refusals, newest first, grouped by the rule that came nearest."""
    found: dict[str, list[AuditRow]] = {}
    for stored in events:
        found.setdefault(_rule(stored.row.event), []).append(stored.row)
    return [
        Refusals(rule, len(group), group[0].at, group[0].actor, _reason(group[0].event))
        for rule, group in found.items()
    ]


def _part(row: PolicyRow, uses: Sequence[WindowUse]) -> PolicyPart:
    bars = sorted((_bar(use) for use in uses if use.used), key=lambda bar: -bar.share)
    return PolicyPart(row, bars[:WINDOWS_SHOWN], max(0, len(bars) - WINDOWS_SHOWN))


def _bar(use: WindowUse) -> WindowBar:
    share = 100.0 if use.maximum == 0 else min(100.0, use.used * 100 / use.maximum)
    return WindowBar(use, share, Level.WARN if share >= 100 * NEARLY_FULL else Level.OK)


def _rule(event: Event) -> str:
    return (event.detail or "unknown").partition(":")[0]


def _reason(event: Event) -> str:
    return (event.detail or "").partition(": ")[2]


_REFUSED = EventFilter(None, None, None, None, None, "policy_denied", None)
