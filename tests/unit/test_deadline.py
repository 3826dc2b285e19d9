"""One deadline a request, found by whoever has to wait."""

import threading

import pytest

from kms_service import deadline


def test_without_one_a_wait_is_bounded_by_itself() -> None:
    assert deadline.remaining(7) == 7
    assert deadline.allows(3600)


def test_inside_nothing_lasts_longer() -> None:
    with deadline.within(5):
        assert 4.5 < deadline.remaining(60) <= 5
        assert deadline.remaining(1) == 1
        assert deadline.allows(4)
        assert not deadline.allows(6)
    assert deadline.remaining(60) == 60


def test_a_tighter_outer_one_stays_in_force() -> None:
    with deadline.within(1), deadline.within(60):
        assert deadline.remaining(60) <= 1
    with deadline.within(60):
        with deadline.within(1):
            assert deadline.remaining(60) <= 1
        assert deadline.remaining(60) > 59


def test_one_that_has_passed_leaves_less_than_nothing() -> None:
    with deadline.within(-1):
        assert deadline.remaining(5) < 0
        assert not deadline.allows(0)


def test_it_ends_with_an_error_too() -> None:
    with pytest.raises(KeyError), deadline.within(1):
        raise KeyError
    assert deadline.remaining(60) == 60


def test_another_thread_does_not_see_it() -> None:
    seen: list[float] = []
    with deadline.within(1):
        thread = threading.Thread(target=lambda: seen.append(deadline.remaining(60)))
        thread.start()
        thread.join()
    assert seen == [60]
