"""What calls reveal about a key, when they are refused, and that a caller who leaves costs no place."""

import asyncio
from contextlib import AbstractAsyncContextManager

import pytest

from event_loop import turns
from kms_service.errors import IntegrityFailure, KmsKeyUnusable, KmsThrottled, KmsUnavailable
from kms_service.kms.errors import KmsCallNotMade, KmsKeyDisabled, KmsTimedOut
from kms_service.kms.keys.circuit import FIRST_PAUSE_SECONDS, CircuitState, Fault
from kms_service.kms.keys.health import MAX_KEYS, KeyHealth

ARN = "arn:aws:kms:eu-central-1:111122223333:key/a"


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


async def _fail(manager: AbstractAsyncContextManager[None], error: BaseException) -> None:
    with pytest.raises(type(error)):
        async with manager:
            raise error


def _state(health: KeyHealth) -> CircuitState:
    return health.circuit(ARN)[0]


@pytest.mark.parametrize(
    ("errors", "fault"),
    [
        ([KmsKeyDisabled("DisabledException", ARN)], Fault.KEY),
        ([KmsKeyUnusable("KMSInvalidStateException", ARN)], Fault.KEY),
        ([KmsTimedOut("ReadTimeoutError", ARN)] * 3, Fault.TIMEOUT),
        ([KmsUnavailable("500", ARN)] * 5, Fault.ERROR),
    ],
)
def test_faults_of_a_key_open_its_circuit(errors: list[Exception], fault: Fault) -> None:
    health = KeyHealth(4, Clock())

    async def scenario() -> None:
        for error in errors:
            assert _state(health) is CircuitState.CLOSED
            await _fail(health.wrapping(ARN), error)

    asyncio.run(scenario())
    assert health.circuit(ARN)[:2] == (CircuitState.OPEN, fault)
    assert not health.admits(ARN)
    assert health.last_used() == {}


@pytest.mark.invariant(6)
@pytest.mark.parametrize(
    "error",
    [
        KmsThrottled("ThrottlingException", ARN),
        KmsCallNotMade("TooLate", ARN),
        IntegrityFailure("dek length"),
        asyncio.CancelledError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_fault_that_is_not_the_keys_opens_no_circuit(error: BaseException) -> None:
    health = KeyHealth(4, Clock())

    async def scenario() -> None:
        for _ in range(20):
            await _fail(health.wrapping(ARN), error)
            await _fail(health.opening(ARN), error)

    asyncio.run(scenario())
    assert _state(health) is CircuitState.CLOSED
    assert not health.busy(ARN)


def test_a_key_that_refuses_to_wrap_is_still_asked_to_open() -> None:
    health = KeyHealth(4, Clock())

    async def scenario() -> None:
        await _fail(health.wrapping(ARN), KmsKeyDisabled("DisabledException", ARN))
        async with health.opening(ARN):
            pass
        with pytest.raises(KmsCallNotMade):
            async with health.wrapping(ARN):
                raise AssertionError("the call was made")

    asyncio.run(scenario())
    assert list(health.last_used()) == [ARN]


def test_a_key_that_hangs_is_not_called_until_its_pause_is_over() -> None:
    clock = Clock()
    health = KeyHealth(4, clock)

    async def scenario() -> None:
        for _ in range(3):
            await _fail(health.opening(ARN), KmsTimedOut("ReadTimeoutError", ARN))
        for manager in (health.opening(ARN), health.wrapping(ARN)):
            with pytest.raises(KmsCallNotMade):
                async with manager:
                    raise AssertionError("the call was made")
        clock.now += FIRST_PAUSE_SECONDS
        async with health.opening(ARN):
            pass

    asyncio.run(scenario())
    assert _state(health) is CircuitState.CLOSED


@pytest.mark.parametrize("where", ["in the lane", "in the call"])
def test_a_trial_that_is_given_up_leaves_the_next_one_free(where: str) -> None:
    clock = Clock()
    health = KeyHealth(1, clock)

    async def scenario() -> None:
        await _fail(health.wrapping(ARN), KmsKeyDisabled("DisabledException", ARN))
        clock.now += FIRST_PAUSE_SECONDS
        lane = health._key(ARN).lane
        place = await lane.enter() if where == "in the lane" else None

        async def trial() -> None:
            async with health.wrapping(ARN):
                await asyncio.Event().wait()  # no answer comes

        task = asyncio.create_task(trial())
        await turns(3)
        assert not health.admits(ARN), "another trial would begin"
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if place is not None:
            lane.leave(place)
        assert health.admits(ARN)
        assert not health.busy(ARN)
        async with health.wrapping(ARN):
            pass

    asyncio.run(scenario())
    assert _state(health) is CircuitState.CLOSED


def test_a_lane_full_of_slow_calls_refuses_and_says_so() -> None:
    health = KeyHealth(1, Clock())

    async def scenario() -> None:
        lane = health._key(ARN).lane
        place = await lane.enter()
        assert place is not None
        lane._started[place] -= 1
        with pytest.raises(KmsCallNotMade) as failure:
            async with health.opening(ARN):
                raise AssertionError("the call was made")
        assert failure.value.reason == "earlier calls under this key hang"

    asyncio.run(scenario())
    assert _state(health) is CircuitState.CLOSED


def test_rows_that_name_many_keys_fill_no_memory() -> None:
    health = KeyHealth(1, Clock())
    for number in range(3 * MAX_KEYS):
        health.admits(f"{ARN}{number}")
    assert len(health._keys) <= MAX_KEYS
