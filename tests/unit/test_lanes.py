"""The bulkhead: waiting while a key is busy, refusing while it hangs."""

import asyncio
import time
from collections.abc import Coroutine

import pytest

from event_loop import turns
from kms_service.kms.keys.lanes import SLOW_SECONDS, Lane


def _enter(lane: Lane) -> Coroutine[object, object, int | None]:
    return asyncio.wait_for(lane.enter(), 60)


def test_a_lane_admits_its_width_and_no_more() -> None:
    now = 0.0
    lane = Lane(2, lambda: now)

    async def scenario() -> None:
        nonlocal now
        full = []
        for _ in range(2):
            assert await lane.enter() is not None
            full.append(lane.full)
        assert full == [False, True]
        now = SLOW_SECONDS + 0.1
        assert await lane.enter() is None

    asyncio.run(scenario())


def test_a_place_given_back_goes_to_the_longest_waiting_call() -> None:
    lane = Lane(1)
    order: list[str] = []

    async def call(name: str) -> None:
        place = await _enter(lane)
        assert place is not None
        order.append(name)
        lane.leave(place)

    async def scenario() -> None:
        place = await _enter(lane)
        assert place is not None
        waiting = []
        for name in "abc":
            waiting.append(asyncio.create_task(call(name)))
            await turns(3)
        lane.leave(place)
        # A newcomer does not overtake them, though it asks before they run.
        await call("newcomer")
        await asyncio.gather(*waiting)

    asyncio.run(scenario())
    assert order == ["a", "b", "c", "newcomer"]
    assert not lane.full


def test_a_hanging_lane_refuses_every_waiting_call_after_half_a_second() -> None:
    lane = Lane(1)

    async def scenario() -> list[int | None]:
        await lane.enter()
        return await asyncio.gather(*(_enter(lane) for _ in range(5)))

    started = time.monotonic()
    assert asyncio.run(scenario()) == [None] * 5
    assert time.monotonic() - started >= SLOW_SECONDS * 0.9


def test_a_waiting_call_looks_again_when_an_older_one_has_ended() -> None:
    now = 0.0
    lane = Lane(2, lambda: now)

    async def scenario() -> int | None:
        nonlocal now
        old = await lane.enter()
        now = 0.3
        await lane.enter()
        waiting = [asyncio.create_task(lane.enter()) for _ in range(2)]
        await turns(3)
        assert old is not None
        lane.leave(old)
        assert await waiting[0] is not None
        # The oldest is now of 0.3: at 0.6 it is young still.
        now = 0.6
        waiting[1].cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting[1]
        return len(lane._waiting)

    assert asyncio.run(scenario()) == 0


@pytest.mark.parametrize("count", range(6))
def test_no_place_is_lost_whenever_a_waiter_is_cancelled(count: int) -> None:
    lane = Lane(1)

    async def scenario() -> None:
        place = await _enter(lane)
        assert place is not None
        first = asyncio.create_task(lane.enter())
        second = asyncio.create_task(_enter(lane))
        await turns(3)
        lane.leave(place)
        await turns(count)
        first.cancel()
        result = (await asyncio.gather(first, return_exceptions=True))[0]
        if isinstance(result, int):
            # It was let in before the cancellation reached it, and gives its place back as callers do.
            lane.leave(result)
        got = await second
        assert got is not None
        lane.leave(got)
        assert not lane.full

    asyncio.run(scenario())
