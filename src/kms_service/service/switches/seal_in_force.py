"""Whether the service is sealed: it is, unless the newest change opens the seal and an operator made it."""

from collections.abc import Callable

from kms_service.crypto.row_mac import RowLabel, RowMacKeyring
from kms_service.errors import IntegrityFailure
from kms_service.store.switches.seal import SealChange, StoredSeal, StoredSealChange
from kms_service.telemetry import metrics
from kms_service.telemetry.logs import get_logger

# The database's functions give out no number further away than that: what tells of one is made up.
LEAP = 1_000_000

Ring = Callable[[], RowMacKeyring | None]

log = get_logger()


class SealInForce:
    """Judges what the database tells of the seal, and goes back behind no change that it has seen.

    Whoever writes the database but holds no row key can seal, and cannot unseal: a row without a right MAC
    seals, and so does one older than a change that this process or the audit log knows of. While the keys of
    row MACs are not here, nothing can be told apart, so any row seals.

    Args:
        ring: the keys of row MACs; None while this process has not unwrapped them.
    """

    def __init__(self, ring: Ring) -> None:
        self._ring = ring
        # What was read last; of this moment or a moment ago.
        self.last: StoredSeal | None = None
        self._seen = 0
        self._suspected: tuple[str, int | None] | None = None
        self._reported: tuple[str, int | None] | None = None

    def is_sealed(self, stored: StoredSeal) -> bool:
        """Whether the service is sealed, as the database tells it now; takes note of it."""
        self.last = stored
        newest, ring = stored.newest, self._ring()
        seen = max(self._seen, _credible(stored.recorded, stored.highest))
        if newest is None:
            # The service never deletes a row.
            if seen:
                self._suspect("seal changes missing", None)
            return bool(seen)
        number = newest.number or 0
        self._seen = max(self._seen, _credible(number, max(self._seen, stored.recorded)))
        if ring is None:
            return True
        reason = _wrong(newest, ring) or ("seal rolled back" if number < seen else None)
        self._suspect(reason, newest.row_id)
        return reason is not None or newest.change.sealed

    def _suspect(self, reason: str | None, row_id: int | None) -> None:
        suspected = None if reason is None else (reason, row_id)
        again = suspected == self._suspected
        # Of two answers that overtook each other, the older one is no attack: the next look tells.
        if suspected is not None and again and suspected != self._reported:
            metrics.seal_integrity_failures.inc()
            log.error("seal_integrity_failure", row=row_id, reason=reason)
            self._reported = suspected
        self._suspected = suspected


def fields(number: int, change: SealChange) -> tuple[str, ...]:
    """What the MAC of a change covers: number, which way, why and by whom; no reason is an empty field."""
    direction = "sealed" if change.sealed else "unsealed"
    return str(number), direction, "" if change.reason is None else f"={change.reason}", change.actor


def next_number(stored: StoredSeal) -> int:
    """The number of the next change: beyond all that anybody knows of."""
    return max(stored.highest, _credible(stored.recorded, stored.highest)) + 1


def _wrong(newest: StoredSealChange, ring: RowMacKeyring) -> str | None:
    try:
        ring.verify(RowLabel.SEAL, fields(newest.number or 0, newest.change), newest.mac)
    except IntegrityFailure as failure:
        return failure.reason
    return None


def _credible(number: int, known: int) -> int:
    return number if number <= known + LEAP else 0
