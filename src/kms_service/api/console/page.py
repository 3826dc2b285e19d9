"""The page as HTML: an overview in words, numbers and bars."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from fastapi.responses import HTMLResponse

from kms_service import __version__
from kms_service.api.console import attention, drawing
from kms_service.api.console.attention import Level, open_elsewhere
from kms_service.api.console.policies import REFUSALS_READ, PoliciesNow
from kms_service.api.console.visitors import Visitor
from kms_service.api.console.words import age, ago, clock, most_frequent, rate, span
from kms_service.kms.keys.circuit import CircuitState
from kms_service.kms.pool import KeyMode, KeyStatus
from kms_service.quantity import quantity
from kms_service.service.overview import Overview
from kms_service.service.pool.state import PoolKey
from kms_service.service.readiness import OK, Health
from kms_service.settings import Settings
from kms_service.store.audit.events import AuditRow
from kms_service.store.audit.trail import StoredRow
from kms_service.telemetry.recent import Counts

if TYPE_CHECKING:
    from jinja2 import Environment

_FOLDER = Path(str(resources.files("kms_service.api.console")))
_STATES: Mapping[KeyStatus, str] = MappingProxyType(
    {
        KeyStatus.ACTIVE: "active",
        KeyStatus.DISABLED: "disabled",
        KeyStatus.PENDING_DELETION: "pending deletion",
        KeyStatus.UNAVAILABLE: "unavailable",
    }
)
_NEWEST_SHOWN = 6
_REFUSED_SHOWN = 8
# The longest bar stands for this share of all wallets, or for the largest key's share if that is more.
_LONGEST_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class KeyRow:
    """One key as it is drawn; `bar` is a percentage of the longest possible bar."""

    name: str
    level: Level
    state: str
    reason: str
    takes_new: bool
    bar: float
    wallets: str
    share: str
    circuit: str
    circuit_level: Level
    last_used: str
    rotates: str
    rotates_level: Level
    calls: Counts | None


def overview(now: Overview, visitor: Visitor, settings: Settings, refresh: int | None) -> HTMLResponse:
    """The overview for a visitor; the browser reloads it every `refresh` seconds, or not if None."""
    found = attention.notices(now)
    text = _render(
        "overview.html",
        now=now,
        visitor=visitor,
        workers=settings.workers,
        refresh=refresh,
        notices=found,
        worst=attention.worst(found),
        keys=[_row(now, key) for key in now.keys],
        others=[]
        if now.wallets.value is None
        else [each for each in now.wallets.value.others if each.wallets],
        total=_total(now),
        rotation=now.rotation.value,
        events=_notable_events(now.events.value or ()),
        aliases={key.info.key_arn: key.info.name for key in now.keys},
        sparks=drawing.sparks(now.recent),
    )
    refreshing = {} if refresh is None else {"Refresh": str(refresh)}
    return HTMLResponse(text, headers={**headers(), **refreshing})


def sign_in(status: int, words: str, health: Health, action: str) -> HTMLResponse:
    """The form that posts a token to `action`; it shows strangers no more than a probe does."""
    worst = Level.OK if health.ready else Level.BAD
    text = _render("sign_in.html", words=words, health=health, worst=worst, action=action)
    return HTMLResponse(text, status, headers=headers())


def about_policies(now: PoliciesNow, visitor: Visitor) -> HTMLResponse:
    """The page about policies for a visitor."""
    worst = Level.BAD if now.problem else Level.OK
    text = _render("policies.html", now=now, visitor=visitor, worst=worst, most=REFUSALS_READ)
    return HTMLResponse(text, headers=headers())


@cache
def _style() -> str:
    return (_FOLDER / "page.css").read_text()


def headers() -> dict[str, str]:
    """Headers of every answer: no script runs, nothing is loaded, and nothing frames or caches the page."""
    style = base64.b64encode(hashlib.sha256(_style().encode()).digest()).decode()
    return {
        "Content-Security-Policy": (
            f"default-src 'none'; style-src 'sha256-{style}'; img-src data:; form-action 'self'; "
            "base-uri 'none'; frame-ancestors 'none'"
        ),
        "X-Frame-Options": "DENY",
        "X-Content-Type-Options": "nosniff",
        # Not no-referrer: browsers would then hide the form's own origin too.
        "Referrer-Policy": "same-origin",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cache-Control": "no-store",
    }


def _row(now: Overview, key: PoolKey) -> KeyRow:
    info = key.info
    draining = info.mode is KeyMode.DRAINING
    level = Level.BAD if not info.usable else Level.WARN if draining else Level.OK
    circuit = info.circuit.value
    if open_elsewhere(now, key):
        circuit = "open in another worker"
    counted = now.wallets.taken_at is not None
    rotates, rotates_level = _rotates(key)
    longest = max([_LONGEST_SHARE, *(each.share for each in now.keys)])
    return KeyRow(
        name=info.name,
        level=level,
        state=" · ".join([_STATES[info.status], *(["draining"] if draining else [])])
        if not info.usable
        else "draining"
        if draining
        else "active",
        reason="" if info.reason == info.status else info.reason,
        takes_new=info.wraps,
        bar=100 * key.share / longest,
        wallets=f"{key.wallets:,}" if counted else "unknown",
        share=f"{key.share:.1%}" if counted else "",
        circuit=circuit,
        circuit_level=Level.OK if circuit == CircuitState.CLOSED else Level.BAD,
        last_used=ago(key.last_used_at, now.at) if counted or key.last_used_at else "unknown",
        rotates=rotates,
        rotates_level=rotates_level,
        calls=None if now.recent is None else now.recent.keys.get(info.alias, Counts()),
    )


def _rotates(key: PoolKey) -> tuple[str, Level]:
    rotation = key.info.rotation
    if rotation is None:
        return "unknown", Level.WARN
    if not rotation.supported:
        return "not possible", Level.OK
    if not rotation.enabled:
        return "off", Level.WARN
    return ("on" if rotation.next_at is None else f"{rotation.next_at:%Y-%m-%d}"), Level.OK


def _notable_events(events: Sequence[StoredRow]) -> list[AuditRow]:
    """The newest rows, and the newest that were not ok, which traffic would soon push out; newest first."""
    refused = [stored for stored in events if stored.row.event.outcome != OK]
    shown = {stored.id: stored.row for stored in [*events[:_NEWEST_SHOWN], *refused[:_REFUSED_SHOWN]]}
    return [shown[number] for number in sorted(shown, reverse=True)]


def _total(now: Overview) -> int | None:
    state = now.wallets.value
    if state is None:
        return None
    return sum(key.wallets for key in state.keys) + sum(other.wallets or 0 for other in state.others)


def _render(template: str, **values: Any) -> str:
    environment = _environment()
    return environment.get_template(template).render(values, version=__version__)


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415 # on first use: 0.1 s
    from markupsafe import Markup  # noqa: PLC0415 # as above

    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["quantity"] = quantity
    environment.globals["style"] = Markup(_style())  # noqa: S704 # our own file
    environment.filters |= {
        "ago": ago, "span": span, "age": age, "rate": rate, "clock": clock, "listed": most_frequent,
    }  # fmt: skip
    return environment
