"""The pool as a table, with a bar for each key."""

from datetime import UTC, datetime

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from kms_service.cli.screen import safe_text
from kms_service.kms.pool import KeyMode, KeyStatus
from kms_service.quantity import quantity
from kms_service.service.pool.materials import count_behind
from kms_service.service.pool.state import PoolKey, PoolState

_BAR_WIDTH = 10
_SECONDS_A_DAY = 86_400


def pool_table(state: PoolState) -> RenderableType:
    """One row per key, then notes, such as a line for each key outside the pool that has wallets."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("Key", "State", "Wallets", "", "Last used", "Rotates"):
        table.add_column(title, justify="right" if title == "Wallets" else "left", no_wrap=title != "State")
    most = max((key.wallets for key in state.keys), default=0)
    for key in state.keys:
        table.add_row(
            safe_text(key.info.name),
            _state(key),
            f"{key.wallets:,} {key.share:4.0%}",
            "█" * round(_BAR_WIDTH * key.wallets / max(most, 1)),
            _ago(key.last_used_at),
            _rotation(key),
        )
    notes = _notes(state)
    for note in notes:
        note.no_wrap, note.overflow = True, "ignore"  # an ARN is copied whole
    return Group(table, *notes)


def _state(key: PoolKey) -> Text:
    if key.info.status is not KeyStatus.ACTIVE:
        return safe_text(f"{key.info.status}: {key.info.reason}", "red")
    if key.info.mode is KeyMode.DRAINING:
        return safe_text("draining", "yellow")
    return safe_text("active", "green")


def _rotation(key: PoolKey) -> Text:
    rotation = key.info.rotation
    if rotation is None:
        return safe_text("not known", "yellow")
    if not rotation.supported:
        return safe_text("not possible")
    if not rotation.enabled:
        return safe_text("off", "red")
    return safe_text("on" if rotation.next_at is None else f"{rotation.next_at:%Y-%m-%d}")


def _ago(at: datetime | None) -> str:
    if at is None:
        return "never"
    seconds = int((datetime.now(UTC) - at).total_seconds())
    for unit, length in (("d", _SECONDS_A_DAY), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length} {unit} ago"
    return f"{max(seconds, 0)} s ago"


def _notes(state: PoolState) -> list[Text]:
    wallets = sum(key.wallets for key in state.keys) + sum(other.wallets or 0 for other in state.others)
    active = sum(key.info.wraps for key in state.keys)
    keys = quantity(len(state.keys), "key", "keys")
    taking = f"{active} of {keys} {'takes' if active == 1 else 'take'} new wallets"
    notes = [Text(f"\n{taking}. Wallets in all: {wallets:,}.")]
    notes += [
        safe_text(f"{each.name}, the {each.role} Region, does not serve: {each.reason}", "red")
        for each in state.regions
        if each.reason
    ]
    notes += [
        safe_text(f"{key.info.name} is {key.info.key_arn}", "red")
        for key in state.keys
        if not key.info.usable and key.info.key_arn is not None
    ]
    fixed = sum(key.info.rotation is not None and key.info.rotation.off for key in state.keys)
    if fixed:
        one, many = "key is not rotated by KMS; its", "keys are not rotated by KMS; their"
        notes.append(safe_text(f"{quantity(fixed, one, many)} material stays the same", "yellow"))
    notes += [
        safe_text(
            quantity(behind, f"wallet of {key.info.name} was", f"wallets of {key.info.name} were")
            + " wrapped before its last rotation",
            "yellow",
        )
        for key in state.keys
        if (behind := count_behind(key.materials))
    ]
    notes += [
        safe_text(
            f"{key.info.alias} was pointed at another key; before, it was {key.info.moved_from}", "yellow"
        )
        for key in state.keys
        if key.info.moved_from
    ]
    notes += [
        safe_text(
            f"{quantity(other.wallets, 'wallet is', 'wallets are')} under {other.kms_key_id}, "
            "which has no known alias of the pool",
            "yellow",
        )
        for other in state.others
        if other.wallets
    ]
    return notes
