"""Decides whether the service is sealed: it is, unless an operator's newest change opened the seal."""

from collections.abc import Callable

from kms_service.crypto.row_mac import RowLabel, RowMacKeyring
from kms_service.errors import IntegrityFailure
from kms_service.store.switches.seal import SealChange, StoredSeal, StoredSealChange
from kms_service.telemetry import metrics
from kms_service.telemetry.logs import get_logger

# The database's functions never give out a number further ahead, so any row with one is forged.
LEAP = 1_000_000

Ring = Callable[[], RowMacKeyring | None]

log = get_logger()


class SealInForce:
    """Judges what the database says about the seal, and never falls back to an older change.

    Whoever can write the database but has no key of row MACs can seal, but cannot unseal: a row whose MAC
    does not hold seals, and so does a row that is older than a change this process or the audit log knows
    of. Until the keys of row MACs are unwrapped, no MAC can be checked, so any row seals.

    Args:
        ring: returns the keys of row MACs; None while this process has not unwrapped them.
    """

    def __init__(self, ring: Ring) -> None:
        self._ring = ring
        # What was read last.
        self.last: StoredSeal | None = None
        self._seen = 0
        self._suspected: tuple[str, int | None] | None = None
        self._reported: tuple[str, int | None] | None = None

    def is_sealed(self, stored: StoredSeal) -> bool:
        """Whether the service is sealed by what was read from the database just now."""
        self.last = stored
        newest, ring = stored.newest, self._ring()
        seen = max(self._seen, _credible_number(stored.recorded, stored.highest))
        # 1. No row, although a change is known of: somebody deleted it, since the service never does.
        if newest is None:
            if seen:
                self._suspect("seal changes missing", None)
            return bool(seen)
        number = newest.number or 0
        self._seen = max(self._seen, _credible_number(number, max(self._seen, stored.recorded)))
        # 2. Without the keys no MAC can be checked.
        if ring is None:
            return True
        # 3. The row's writer holds the key, and no later change is known of. Only then does its word count.
        reason = _find_fault(newest, ring) or ("seal rolled back" if number < seen else None)
        self._suspect(reason, newest.row_id)
        return reason is not None or newest.change.sealed

    def _suspect(self, reason: str | None, row_id: int | None) -> None:
        suspected = None if reason is None else (reason, row_id)
        again = suspected == self._suspected
        # Reported only if the next read finds it too: an answer overtaken by a newer one is not an attack.
        if suspected is not None and again and suspected != self._reported:
            metrics.seal_integrity_failures.inc()
            log.error("seal_integrity_failure", row=row_id, reason=reason)
            self._reported = suspected
        self._suspected = suspected


def fields(number: int, change: SealChange) -> tuple[str, ...]:
    """What the MAC of a change covers: number, direction, reason (empty if there is none) and actor."""
    direction = "sealed" if change.sealed else "unsealed"
    return str(number), direction, "" if change.reason is None else f"={change.reason}", change.actor


def next_number(stored: StoredSeal) -> int:
    """The number of the next change: above all that the table and the audit log know of."""
    return max(stored.highest, _credible_number(stored.recorded, stored.highest)) + 1


def _find_fault(newest: StoredSealChange, ring: RowMacKeyring) -> str | None:
    try:
        ring.verify(RowLabel.SEAL, fields(newest.number or 0, newest.change), newest.mac)
    except IntegrityFailure as failure:
        return failure.reason
    return None


def _credible_number(number: int, known: int) -> int:
    return number if number <= known + LEAP else 0
