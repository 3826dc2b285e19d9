"""What real traffic tells about each key: a circuit, a lane and the time of last use, by key ARN."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from kms_service.errors import KmsKeyUnusable, KmsUnavailable
from kms_service.kms.errors import KmsCallNotMade, KmsTimedOut
from kms_service.kms.keys.circuit import Circuit, CircuitState, Fault, Permit
from kms_service.kms.keys.lanes import Lane
from kms_service.telemetry.logs import get_logger

# Rows name keys; someone who writes rows must not fill the memory.
MAX_KEYS = 1000

log = get_logger()


@dataclass(slots=True)
class _Key:
    circuit: Circuit
    lane: Lane
    used_at: datetime | None = None


class KeyHealth:
    """Watches the calls under each key, and stops those that would only wait. Belongs to one event loop.

    Args:
        width: calls under one key at once; half of what may be in flight, unless there is only one key.
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
        """State of the key's circuit; and for one that is not closed, the fault and reason that opened it."""
        circuit = self._key(key_arn).circuit
        state = circuit.state
        if state is CircuitState.CLOSED:
            return state, None, ""
        return state, circuit.fault, circuit.reason

    def opened_at(self, key_arn: str) -> float:
        """When the circuit last opened, by the clock; 0 for never."""
        return self._key(key_arn).circuit.opened_at

    def vouch(self, key_arn: str) -> None:
        """DescribeKey found the key in order, so calls may try it again."""
        circuit = self._key(key_arn).circuit
        was = circuit.state
        circuit.vouch()
        if was is not CircuitState.CLOSED:
            log.info("circuit_closed", key=key_arn, by="DescribeKey")

    def last_used(self) -> dict[str, datetime]:
        """UTC time of this process's last successful cryptographic call under each key."""
        return {arn: key.used_at for arn, key in self._keys.items() if key.used_at is not None}

    @asynccontextmanager
    async def wrapping(self, key_arn: str) -> AsyncIterator[None]:
        """Around an Encrypt: refused by an open circuit of any cause, since a sibling can do it.

        Raises:
            KmsCallNotMade: the circuit is open, or the lane full of slow calls.
        """
        key = self._key(key_arn)
        permit = key.circuit.permit()
        if permit is None:
            raise KmsCallNotMade("circuit open", key_arn)
        async with self._watch(key, key_arn, permit):
            yield

    @asynccontextmanager
    async def opening(self, key_arn: str) -> AsyncIterator[None]:
        """Around a Decrypt, which no other key can do: refused only where calls have been hanging.

        A key that KMS refuses answers quickly, and may refuse Encrypt only, so decrypts keep asking it.

        Raises:
            KmsCallNotMade: the circuit is open, or the lane full of slow calls.
        """
        key = self._key(key_arn)
        permit = key.circuit.permit()
        if permit is None and key.circuit.fault is Fault.TIMEOUT:
            raise KmsCallNotMade("circuit open", key_arn)
        async with self._watch(key, key_arn, permit):
            yield

    @asynccontextmanager
    async def _watch(self, key: _Key, key_arn: str, permit: Permit | None) -> AsyncIterator[None]:
        place = await self._place(key, key_arn, permit)
        try:
            yield
        except BaseException as error:
            self._conclude(key, key_arn, permit, error)
            raise
        else:
            key.used_at = datetime.now(UTC)
            self._note_success(key, key_arn, permit)
        finally:
            key.lane.leave(place)

    async def _place(self, key: _Key, key_arn: str, permit: Permit | None) -> int:
        place = None
        try:
            place = await key.lane.enter()
        finally:
            if place is None:
                # Also when whoever waited goes away: a trial that is never made must not bar the next.
                self._conclude(key, key_arn, permit, None)
        if place is None:
            raise KmsCallNotMade("earlier calls under this key hang", key_arn)
        return place

    def _conclude(self, key: _Key, key_arn: str, permit: Permit | None, error: BaseException | None) -> None:
        if permit is None:
            return
        fault, reason = _fault(error)
        before = key.circuit.state
        if fault is None:
            key.circuit.record_unanswered(permit)
        else:
            key.circuit.record_failure(permit, fault, reason)
        after = key.circuit.state
        if after is CircuitState.OPEN and before is not CircuitState.OPEN:
            log.warning("circuit_opened", key=key_arn, reason=reason)

    def _note_success(self, key: _Key, key_arn: str, permit: Permit | None) -> None:
        if permit is None:
            return
        before = key.circuit.state
        key.circuit.record_success(permit)
        after = key.circuit.state
        if before is not after:
            log.info("circuit_closed", key=key_arn, by="a call")

    def _key(self, key_arn: str) -> _Key:
        found = self._keys.get(key_arn)
        if found is None:
            if len(self._keys) >= MAX_KEYS:
                self._keys.clear()
            found = self._keys[key_arn] = _Key(Circuit(self._clock), Lane(self._width))
        return found


def _fault(error: BaseException | None) -> tuple[Fault | None, str]:
    if isinstance(error, KmsKeyUnusable):
        return Fault.KEY, error.reason
    if isinstance(error, KmsUnavailable) and not isinstance(error, KmsCallNotMade):
        return (Fault.TIMEOUT if isinstance(error, KmsTimedOut) else Fault.ERROR), error.reason
    return None, ""
