"""What in an overview needs attention now, the worst first, and where to read on."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from kms_service.api.console.words import clock
from kms_service.kms.keys.circuit import CircuitState
from kms_service.kms.pool import KeyMode, KeyStatus
from kms_service.quantity import quantity
from kms_service.service.overview import Overview, Part
from kms_service.service.pool.state import PoolKey
from kms_service.store.rewrap.jobs import RewrapStatus
from kms_service.telemetry.recent import Counts

# As in the alert "high error rate": more than one in twenty, once there are enough to judge by.
ERROR_SHARE = 0.05
ENOUGH = 10
_NAMED = 3
_KEY_FAILS = "Runbook: Access denied, or KMS Region down"


class Level(StrEnum):
    """How serious it is."""

    OK = "ok"
    WARN = "warn"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing that needs attention, with the runbook's section or the command that helps."""

    level: Level
    what: str
    hint: str


def notices(overview: Overview) -> list[Notice]:
    """Everything that needs attention, the worst first; empty if all is well."""
    found = [
        *_service(overview),
        *_regions(overview),
        *_keys(overview),
        *_traffic(overview),
        *_rotation(overview),
        *_unreadable_parts(overview),
    ]
    return sorted(found, key=lambda notice: notice.level is not Level.BAD)


def worst(found: list[Notice]) -> Level:
    """The level of the worst notice; `OK` if there is none."""
    return found[0].level if found else Level.OK


def _service(overview: Overview) -> Iterator[Notice]:
    if overview.database_away_since is not None:
        yield Notice(
            Level.BAD,
            f"The database has not answered since {clock(overview.database_away_since)}: nothing is created, "
            "signed or released.",
            "Runbook: Database lost",
        )
    if overview.schema_behind:
        yield Notice(Level.BAD, "The schema is behind this version.", "kms-service migrate")
    seal = overview.seal.value
    if seal is not None and seal.sealed:
        yield Notice(
            Level.BAD,
            f"Sealed since {clock(seal.at)} by {seal.actor}: {seal.reason or 'no reason given'}. "
            "No key and no signature is released; wallets are still created.",
            "Runbook: Sealed · kms-service unseal",
        )
    if overview.draining:
        yield Notice(Level.WARN, "This process is shutting down.", "")


def _regions(overview: Overview) -> Iterator[Notice]:
    if len(overview.regions) == 1:
        return
    for region in overview.regions:
        if region.reason:
            away = region.away_since
            fault = "does not serve" if away is None else f"has not served since {clock(away)}"
            what = f"KMS in {region.name} (the {region.role} Region) {fault}: {region.reason}."
            yield Notice(Level.WARN, what, "Runbook: KMS Region down")


def _keys(overview: Overview) -> Iterator[Notice]:
    if not any(key.info.wraps for key in overview.keys):
        yield Notice(Level.BAD, "No key takes new wallets.", "kms-service pool doctor")
    broken: dict[tuple[str, str], list[PoolKey]] = defaultdict(list)
    for key in overview.keys:
        if not key.info.usable and not _is_retired(overview, key):
            broken[key.info.status, key.info.reason].append(key)
    for (status, reason), keys in broken.items():
        why = status if reason in {"", status} else f"{status}, {reason}"
        share = sum(key.share for key in keys)
        held = sum(key.wallets for key in keys)
        wallets = f"{quantity(held, 'wallet', 'wallets')} ({share:.0%}) {'is' if held == 1 else 'are'}"
        counted = "" if overview.wallets.taken_at is None else f" {wallets} under {_them(keys)}."
        runbook = _KEY_FAILS if status == KeyStatus.UNAVAILABLE else "Runbook: Key disabled"
        yield Notice(Level.BAD, f"{_names(keys)}: {why}.{counted}", runbook)
    yield from _key_oddities(overview)


def _key_oddities(overview: Overview) -> Iterator[Notice]:
    elsewhere = [key for key in overview.keys if open_elsewhere(overview, key)]
    if elsewhere:
        yield Notice(
            Level.WARN,
            f"{_names(elsewhere)}: its circuit is open in another worker, whose new wallets get other keys.",
            _KEY_FAILS,
        )
    fixed = [key for key in overview.keys if key.info.rotation is not None and key.info.rotation.off]
    if fixed:
        which = quantity(len(fixed), "key is", "keys are") if len(fixed) > 1 else f"{_names(fixed)} is"
        yield Notice(Level.WARN, f"{which} not rotated by KMS.", "Runbook: Rotation off")
    silent = [key.info.silent_since for key in overview.keys if key.info.silent_since is not None]
    if silent:
        yield Notice(
            Level.BAD,
            f"KMS has not reported the state of {len(silent)} of "
            f"{quantity(len(overview.keys), 'key', 'keys')} since {clock(min(silent))}; "
            "shown is what it reported before.",
            "Runbook: KMS Region down",
        )
    for key in overview.keys:
        if key.info.moved_from is not None:
            yield Notice(
                Level.BAD,
                f"{key.info.name} now points at another key; before, it pointed at {key.info.moved_from}.",
                "kms-service pool doctor",
            )
    state = overview.wallets.value
    outside = 0 if state is None else sum(other.wallets or 0 for other in state.others)
    if outside:
        yield Notice(
            Level.WARN,
            f"{quantity(outside, 'wallet is', 'wallets are')} under keys outside the pool.",
            "kms-service pool status",
        )


def _traffic(overview: Overview) -> Iterator[Notice]:
    recent = overview.recent
    if recent is None:
        return
    if recent.canaries_opened:
        yield Notice(
            Level.BAD,
            f"{quantity(recent.canaries_opened, 'canary wallet was', 'canary wallets were')} opened "
            "since this server started.",
            "Runbook: Canary opened",
        )
    if recent.integrity_failures:
        yield Notice(
            Level.BAD,
            quantity(
                recent.integrity_failures,
                "wallet did not open to its own address",
                "wallets did not open to their own address",
            )
            + " since this server started.",
            "Runbook: Integrity failure",
        )
    if _too_many(recent.requests):
        yield Notice(
            Level.BAD,
            f"{recent.requests.failed_share:.1%} of requests end with 5xx.",
            "Runbook: High error rate",
        )
    if _too_many(recent.kms_calls):
        share = recent.kms_calls.failed_share
        yield Notice(Level.BAD, f"{share:.1%} of calls to KMS fail.", "Runbook: KMS Region down")
        return
    failing = [
        key
        for key in overview.keys
        if key.info.usable and _too_many(recent.keys.get(key.info.alias, Counts()))
    ]
    if failing:
        what = f"{_names(failing)}: more than one call to KMS in twenty fails."
        yield Notice(Level.WARN, what, _KEY_FAILS)


def _rotation(overview: Overview) -> Iterator[Notice]:
    job = overview.rotation.value
    if job is None:
        return
    if job.status in {RewrapStatus.FAILED, RewrapStatus.COMPLETED_WITH_ERRORS}:
        words = str(job.status).replace("_", " ")
        why = f": {job.last_error}" if job.last_error else ""
        yield Notice(
            Level.WARN, f"The last rotation {words}{why}.", f"kms-service rotation status {job.rotation_id}"
        )
    elif job.live and job.failed:
        yield Notice(
            Level.WARN,
            f"The rotation could not move {quantity(job.failed, 'wallet', 'wallets')}.",
            f"kms-service rotation status {job.rotation_id}",
        )


def _unreadable_parts(overview: Overview) -> Iterator[Notice]:
    if overview.database_away_since is not None:
        return  # that notice covers all of these
    parts: Mapping[str, Part[Any]] = {
        "The wallets under each key": overview.wallets,
        "The seal": overview.seal,
        "The rotation": overview.rotation,
        "The audit log": overview.events,
    }
    for name, part in parts.items():
        if part.lost_since is not None:
            yield Notice(
                Level.WARN,
                f"{name} has been unreadable since {clock(part.lost_since)}.",
                "log: database_failed",
            )


def open_elsewhere(overview: Overview, key: PoolKey) -> bool:
    """Whether another worker, but not this one, keeps new wallets away from a key."""
    recent = overview.recent
    return (
        recent is not None
        and key.info.circuit is CircuitState.CLOSED
        and key.info.usable
        and key.info.alias in recent.open_circuits
    )


def _is_retired(overview: Overview, key: PoolKey) -> bool:
    # Drained and emptied on purpose: it is meant to be disabled.
    return key.info.mode is KeyMode.DRAINING and overview.wallets.taken_at is not None and not key.wallets


def _too_many(counts: Counts) -> bool:
    return counts.all >= ENOUGH and counts.failed_share > ERROR_SHARE


def _names(keys: list[PoolKey]) -> str:
    named = ", ".join(key.info.name for key in keys[:_NAMED])
    return named if len(keys) <= _NAMED else f"{named} and {len(keys) - _NAMED} more"


def _them(keys: list[PoolKey]) -> str:
    return "it" if len(keys) == 1 else "them"
