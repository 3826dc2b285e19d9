"""A circuit breaker for one KMS key: a state machine without I/O or threads, whose clock is given.

    CLOSED ──a key fault, or a few faults in a row──▶ OPEN ──after a pause──▶ HALF_OPEN (one trial at a time)
       ▲                                               ▲                         │ │
       │                                               └─────the trial failed────┘ │
       └──────────────────────────the trial went well─────────────────────────────-┘

The pause doubles each time a trial fails, up to ten seconds. Throttling is not a key's fault and is never
counted (invariant 6).
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

FIRST_PAUSE_SECONDS = 2.0
LONGEST_PAUSE_SECONDS = 10.0


class Fault(StrEnum):
    """The kind of failure that a call met; the circuit opens when their weights in a row reach `LIMIT`."""

    KEY = "key"
    """KMS refuses the key: that is certain, so one is enough."""
    TIMEOUT = "timeout"
    """No answer in time: three in a row open it, since each of them held up a request for seconds."""
    ERROR = "error"
    """A 5xx, a reset, garbage: five in a row open it, so that scattered errors do not shut out a good key."""

    @property
    def weight(self) -> int:
        """How much of `LIMIT` one such fault uses up."""
        return _WEIGHTS[self]


LIMIT = 5
_WEIGHTS = {Fault.KEY: LIMIT, Fault.TIMEOUT: 2, Fault.ERROR: 1}


class CircuitState(StrEnum):
    """Closed circuits let every call through, open ones none, half-open ones one trial at a time."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@dataclass(frozen=True, slots=True)
class Permit:
    """Permission to make one call; the outcome counts only if the circuit has not changed state since."""

    generation: int


class Circuit:
    """One key's circuit. Not thread-safe.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._state = CircuitState.CLOSED
        self._generation = 0
        self._strikes = 0
        self._pause = FIRST_PAUSE_SECONDS
        self._trying = False
        self.opened_at = 0.0
        self.fault: Fault | None = None
        self.reason = ""

    @property
    def state(self) -> CircuitState:
        """The state now; an open circuit is half-open once its pause is over."""
        if self._state is CircuitState.OPEN and self._clock() >= self.opened_at + self._pause:
            return CircuitState.HALF_OPEN
        return self._state

    @property
    def admits(self) -> bool:
        """Whether a call may be made now."""
        state = self.state
        return state is CircuitState.CLOSED or (state is CircuitState.HALF_OPEN and not self._trying)

    def permit(self) -> Permit | None:
        """Permission to make a call, or None. In a half-open circuit, that call is the trial."""
        if not self.admits:
            return None
        if self.state is CircuitState.HALF_OPEN:
            self._state = CircuitState.HALF_OPEN
            self._trying = True
        return Permit(self._generation)

    def record_success(self, permit: Permit) -> None:
        """Note that KMS served the call: a trial closes the circuit."""
        if permit.generation != self._generation:
            return
        if self._state is CircuitState.HALF_OPEN:
            self._turn(CircuitState.CLOSED)
        self._strikes = 0
        self._pause = FIRST_PAUSE_SECONDS

    def record_failure(self, permit: Permit, fault: Fault, reason: str) -> None:
        """Note that the call met a fault; `reason` is for operators."""
        if permit.generation != self._generation:
            return
        self._strikes += fault.weight
        if self._state is CircuitState.HALF_OPEN:
            self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)
            self._open(fault, reason)
        elif self._strikes >= LIMIT:
            self._open(fault, reason)

    def record_unanswered(self, permit: Permit) -> None:
        """Note that the call said nothing about the key, as when throttled: the next may be the trial."""
        if permit.generation == self._generation:
            self._trying = False

    def vouch(self) -> None:
        """Close an open circuit since DescribeKey found the key usable; one more fault opens it again."""
        if self._state is not CircuitState.CLOSED:
            self._turn(CircuitState.CLOSED)
            self._strikes = LIMIT - 1

    def _open(self, fault: Fault, reason: str) -> None:
        self.fault, self.reason = fault, reason
        self.opened_at = self._clock()
        self._turn(CircuitState.OPEN)

    def _turn(self, state: CircuitState) -> None:
        self._state = state
        self._generation += 1
        self._trying = False
