"""A circuit breaker for one KMS key: a state machine without I/O, threads or a clock of its own.

    CLOSED ──a key fault, or a few faults in a row──▶ OPEN ──after a pause──▶ HALF_OPEN (one trial at a time)
       ▲                                               ▲                         │ │
       │                                               └─────the trial failed────┘ │
       └──────────────────────────the trial went well─────────────────────────────-┘

Each time a trial fails the pause doubles. Throttling is no fault of a key and never comes here (invariant 6).
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

FIRST_PAUSE_SECONDS = 2.0
LONGEST_PAUSE_SECONDS = 10.0


class Fault(StrEnum):
    """What kind of failure a call met; `weight` of `LIMIT` in a row opens the circuit."""

    KEY = "key"
    """KMS refuses the key: certain, so one is enough."""
    TIMEOUT = "timeout"
    """No answer in time: three in a row, since each of them held a request for seconds."""
    ERROR = "error"
    """A 5xx, a reset, garbage: five in a row, so that scattered errors do not shut a working key out."""

    @property
    def weight(self) -> int:
        """How much of the limit one such fault uses up."""
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
    """Leave to make one call; its outcome counts only while the circuit is as it was when it was given."""

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
        """The state now; an open circuit whose pause is over counts as half-open."""
        if self._state is CircuitState.OPEN and self._clock() >= self.opened_at + self._pause:
            return CircuitState.HALF_OPEN
        return self._state

    @property
    def admits(self) -> bool:
        """Whether a call may be made now."""
        state = self.state
        return state is CircuitState.CLOSED or (state is CircuitState.HALF_OPEN and not self._trying)

    def permit(self) -> Permit | None:
        """Leave to make a call; None while there is none. In a half-open circuit it is the trial's."""
        if not self.admits:
            return None
        if self.state is CircuitState.HALF_OPEN:
            self._state = CircuitState.HALF_OPEN
            self._trying = True
        return Permit(self._generation)

    def record_success(self, permit: Permit) -> None:
        """KMS served the call."""
        if permit.generation != self._generation:
            return
        if self._state is CircuitState.HALF_OPEN:
            self._turn(CircuitState.CLOSED)
        self._strikes = 0
        self._pause = FIRST_PAUSE_SECONDS

    def record_failure(self, permit: Permit, fault: Fault, reason: str) -> None:
        """The call met a fault; `reason` is for operators."""
        if permit.generation != self._generation:
            return
        self._strikes += fault.weight
        if self._state is CircuitState.HALF_OPEN:
            self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)
            self._open(fault, reason)
        elif self._strikes >= LIMIT:
            self._open(fault, reason)

    def record_unanswered(self, permit: Permit) -> None:
        """The call told nothing about the key, such as one that KMS throttled: the next may be the trial."""
        if permit.generation == self._generation:
            self._trying = False

    def vouch(self) -> None:
        """DescribeKey found the key in order: close, on probation until a call goes well."""
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
