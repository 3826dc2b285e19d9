"""What real traffic shows about each key: a circuit, a lane and the time of last use, by key ARN."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from kms_service.errors import KmsKeyUnusable, KmsUnavailable
from kms_service.kms.errors import KmsCallNotMade, KmsTimedOut
from kms_service.kms.keys.circuit import Circuit, CircuitState, Fault, Permit
from kms_service.kms.keys.lanes import Lane
from kms_service.telemetry.logs import get_logger

# Rows name keys, so whoever can write rows must not be able to fill the memory.
MAX_KEYS = 1000

log = get_logger()


@dataclass(slots=True)
class _Key:
    circuit: Circuit
    lane: Lane
    used_at: datetime | None = None


class KeyHealth:
    """Watches the calls under each key, and refuses those that would only wait. For one event loop.

    Args:
        width: how many calls under one key may run at once.
        clock: seconds that only grow.
    """

    def __init__(self, width: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._width = width
        self._clock = clock
        self._keys: dict[str, _Key] = {}

    def admits(self, key_arn: str) -> bool:
        """Whether the key's circuit would let a new wallet through now."""
        return self._key(key_arn).circuit.admits

    def busy(self, key_arn: str) -> bool:
        """Whether a call under this key would have to wait for others."""
        return self._key(key_arn).lane.full

    def circuit(self, key_arn: str) -> tuple[CircuitState, Fault | None, str]:
        """The state of the key's circuit and, unless it is closed, the fault and reason that opened it."""
        circuit = self._key(key_arn).circuit
        state = circuit.state
        if state is CircuitState.CLOSED:
            return state, None, ""
        return state, circuit.fault, circuit.reason

    def last_opening(self, key_arn: str) -> float:
        """When the circuit last opened, by the clock; 0 if it never did."""
        return self._key(key_arn).circuit.opened_at

    def vouch(self, key_arn: str) -> None:
        """Let calls try the key again, since DescribeKey found it usable."""
        circuit = self._key(key_arn).circuit
        was = circuit.state
        circuit.vouch()
        if was is not CircuitState.CLOSED:
            log.info("circuit_closed", key=key_arn, by="DescribeKey")

    def last_used(self) -> dict[str, datetime]:
        """UTC time of this process's last successful cryptographic call under each key."""
        return {arn: key.used_at for arn, key in self._keys.items() if key.used_at is not None}

    def wrapping(self, key_arn: str) -> "_Watched":
        """Enter around an Encrypt: any open circuit refuses it, since another key can do it.

        Raises:
            KmsCallNotMade: the circuit is open, or the lane is full of slow calls.
        """
        return _Watched(self._key(key_arn), key_arn, opens=False)

    def opening(self, key_arn: str) -> "_Watched":
        """Enter around a Decrypt, which no other key can do: refused only if calls have been timing out.

        A key that KMS refuses answers quickly, and may be refused for Encrypt only, so it is still asked.

        Raises:
            KmsCallNotMade: time-outs opened the circuit, or the lane is full of slow calls.
        """
        return _Watched(self._key(key_arn), key_arn, opens=True)

    def _key(self, key_arn: str) -> _Key:
        found = self._keys.get(key_arn)
        if found is None:
            if len(self._keys) >= MAX_KEYS:
                self._keys.clear()
            found = self._keys[key_arn] = _Key(Circuit(self._clock), Lane(self._width))
        return found


class _Watched:
    """Wraps one call: takes a place in its key's lane, and reports the outcome to the circuit."""

    __slots__ = ("_arn", "_key", "_opens", "_permit", "_place")

    def __init__(self, key: _Key, key_arn: str, *, opens: bool) -> None:
        self._key = key
        self._arn = key_arn
        self._opens = opens
        self._permit: Permit | None = None
        self._place: int | None = None

    async def __aenter__(self) -> None:
        """Pass the circuit, and wait for a place in the lane."""
        circuit = self._key.circuit
        self._permit = circuit.permit()
        if self._permit is None and not (self._opens and circuit.fault is not Fault.TIMEOUT):
            raise KmsCallNotMade("circuit open", self._arn)
        try:
            self._place = await self._key.lane.enter()
        finally:
            if self._place is None:
                # Also when the waiting caller goes away: a trial that is never made must not block the next.
                self._conclude(None)
        if self._place is None:
            raise KmsCallNotMade("earlier calls under this key hang", self._arn)

    async def __aexit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        """Report the outcome, and give the place back."""
        assert self._place is not None  # noqa: S101 # narrows
        try:
            if error is None:
                self._key.used_at = datetime.now(UTC)
                self._note_success()
            else:
                self._conclude(error)
        finally:
            self._key.lane.leave(self._place)

    def _conclude(self, error: BaseException | None) -> None:
        if self._permit is None:
            return
        circuit = self._key.circuit
        fault, reason = _fault(error)
        before = circuit.state
        if fault is None:
            circuit.record_unanswered(self._permit)
        else:
            circuit.record_failure(self._permit, fault, reason)
        after = circuit.state
        if after is CircuitState.OPEN and before is not CircuitState.OPEN:
            log.warning("circuit_opened", key=self._arn, reason=reason)

    def _note_success(self) -> None:
        if self._permit is None:
            return
        circuit = self._key.circuit
        before = circuit.state
        circuit.record_success(self._permit)
        after = circuit.state
        if before is not after:
            log.info("circuit_closed", key=self._arn, by="a call")


def _fault(error: BaseException | None) -> tuple[Fault | None, str]:
    if isinstance(error, KmsKeyUnusable):
        return Fault.KEY, error.reason
    if isinstance(error, KmsUnavailable) and not isinstance(error, KmsCallNotMade):
        return (Fault.TIMEOUT if isinstance(error, KmsTimedOut) else Fault.ERROR), error.reason
    return None, ""
