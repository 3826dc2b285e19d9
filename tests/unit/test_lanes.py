"""The bulkhead: waiting while a key is busy, refusing while it hangs."""

import threading
import time

from kms_service.kms.keys.lanes import SLOW_SECONDS, Lane


def test_a_lane_takes_its_width_and_no_more() -> None:
    now = 0.0
    lane = Lane(2, lambda: now)
    assert lane.enter() is not None
    assert not lane.full
    assert lane.enter() is not None
    assert lane.full
    now = SLOW_SECONDS + 0.1
    assert lane.enter() is None


def test_a_place_given_back_can_be_taken() -> None:
    lane = Lane(1)
    place = lane.enter()
    assert place is not None
    lane.leave(place)
    assert lane.enter() is not None


def test_a_busy_lane_is_waited_for() -> None:
    lane = Lane(1)
    place = lane.enter()
    assert place is not None
    threading.Timer(0.05, lane.leave, [place]).start()
    assert lane.enter() is not None


def test_a_hanging_lane_refuses_all_who_wait_after_half_a_second() -> None:
    lane = Lane(1)
    lane.enter()
    answers: list[int | None] = []
    waiting = [threading.Thread(target=lambda: answers.append(lane.enter())) for _ in range(5)]
    started = time.monotonic()
    for thread in waiting:
        thread.start()
    for thread in waiting:
        thread.join()
    assert answers == [None] * 5
    assert time.monotonic() - started >= SLOW_SECONDS * 0.9
    assert lane.enter() is None
