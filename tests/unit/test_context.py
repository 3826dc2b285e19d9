"""One deadline for each request, which everything that waits for something keeps."""

import threading

import pytest

from kms_service import context


def test_without_a_deadline_a_wait_has_its_own_limit() -> None:
    assert context.time_left(7) == 7
    assert context.has_time_for(3600)


def test_no_wait_outlasts_the_deadline() -> None:
    with context.deadline(5):
        assert 4.5 < context.time_left(60) <= 5
        assert context.time_left(1) == 1
        assert context.has_time_for(4)
        assert not context.has_time_for(6)
    assert context.time_left(60) == 60


def test_the_tighter_of_two_nested_deadlines_is_in_force() -> None:
    with context.deadline(1), context.deadline(60):
        assert context.time_left(60) <= 1
    with context.deadline(60):
        with context.deadline(1):
            assert context.time_left(60) <= 1
        assert context.time_left(60) > 59


def test_a_deadline_that_has_passed_leaves_negative_time() -> None:
    with context.deadline(-1):
        assert context.time_left(5) < 0
        assert not context.has_time_for(0)


def test_an_error_ends_the_deadline_too() -> None:
    with pytest.raises(KeyError), context.deadline(1):
        raise KeyError
    assert context.time_left(60) == 60


def test_another_thread_does_not_see_the_deadline() -> None:
    seen: list[float] = []
    with context.deadline(1):
        thread = threading.Thread(target=lambda: seen.append(context.time_left(60)))
        thread.start()
        thread.join()
    assert seen == [60]
