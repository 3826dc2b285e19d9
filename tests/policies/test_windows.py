"""Amounts taken from windows: exact under concurrency, all or nothing, and counted for the right time."""

import asyncio
from typing import Any

import psycopg
import pytest

from event_loop import complete
from kms_service.bootstrap import Services
from kms_service.store.policies.windows import Need, Period, PolicyWindowStore

MOST = 2**256 - 1


@pytest.fixture
def windows(services: Services) -> PolicyWindowStore:
    return PolicyWindowStore(services.database)


def need(window: str, amount: int, maximum: int, per: Period = "day", **changes: Any) -> Need:
    fields = {"policy": "p", "rule": "r", "subject": "s", "asset": "", **changes}
    return Need(window=f"{window} per {per} and wallet", per=per, amount=amount, maximum=maximum, **fields)


def read_usage(windows: PolicyWindowStore, policy: str = "p") -> dict[str, int]:
    return {use.measure: use.used for use in complete(windows.uses(policy, limit=100, after=None))}


def test_a_window_is_filled_to_its_maximum_and_no_further(windows: PolicyWindowStore) -> None:
    assert complete(windows.take([need("value", 7, 10)])) is None
    assert complete(windows.take([need("value", 4, 10)])) == need("value", 4, 10)
    assert complete(windows.take([need("value", 3, 10)])) is None
    assert complete(windows.take([need("value", 0, 10)])) is None
    assert read_usage(windows) == {"value": 10}


def test_more_than_the_maximum_at_once_has_no_room(windows: PolicyWindowStore) -> None:
    assert complete(windows.take([need("value", 11, 10)])) == need("value", 11, 10)
    assert read_usage(windows) == {}


def test_all_amounts_are_taken_or_none(windows: PolicyWindowStore) -> None:
    complete(windows.take([need("fee", 5, 5)]))
    both = [need("value", 1, 10), need("fee", 1, 5)]
    assert complete(windows.take(both)) == both[1]
    assert read_usage(windows) == {"fee": 5}
    assert complete(windows.take([])) is None


def test_an_amount_without_room_is_reported_and_not_taken(windows: PolicyWindowStore) -> None:
    complete(windows.take([need("value", 6, 10)]))
    for _ in range(3):
        assert complete(windows.find_full([need("value", 4, 10)])) is None
        assert complete(windows.find_full([need("fee", 1, 1), need("value", 5, 10)])) == need("value", 5, 10)
        assert complete(windows.find_full([need("fee", 2, 1)])) == need("fee", 2, 1)
    assert read_usage(windows) == {"value": 6}


def test_amounts_have_no_limit_of_their_own(windows: PolicyWindowStore) -> None:
    for _ in range(4):
        assert complete(windows.take([need("value", MOST, 4 * MOST)])) is None
    assert complete(windows.take([need("value", 1, 4 * MOST)])) is not None
    assert read_usage(windows) == {"value": 4 * MOST}


def test_windows_of_other_keys_do_not_touch_each_other(windows: PolicyWindowStore) -> None:
    changes: tuple[dict[str, Any], ...] = (
        {},
        {"policy": "q"},
        {"rule": "x"},
        {"subject": "t"},
        {"asset": "1:0xaa"},
    )
    for change in changes:
        assert complete(windows.take([need("value", 10, 10, **change)])) is None
    assert complete(windows.take([need("value", 10, 10, per="hour")])) is None
    for change in changes:
        assert complete(windows.take([need("value", 1, 10, **change)])) is not None


def test_any_number_at_once_takes_exactly_what_there_is(windows: PolicyWindowStore) -> None:
    """Pairs of windows in either order: no deadlock, and nothing is lost."""

    async def many() -> list[Need | None]:
        pairs = [
            [need("value", 3, 100), need("count", 1, 1000)],
            [need("count", 1, 1000), need("value", 3, 100)],
        ]
        at_once = asyncio.Semaphore(8)  # as many as have a connection: who waits for one for long is refused

        async def take(number: int) -> Need | None:
            async with at_once:
                return await windows.take(pairs[number % 2])

        return await asyncio.gather(*(take(number) for number in range(50)))

    taken = sum(lacking is None for lacking in complete(many()))
    assert taken == 33
    assert read_usage(windows) == {"value": 99, "count": 33}


@pytest.mark.parametrize(("per", "slots"), [("minute", 60), ("hour", 60), ("day", 96)])
def test_an_amount_counts_for_its_period_and_at_most_one_slot_more(
    windows: PolicyWindowStore, database_url: str, per: Period, slots: int
) -> None:
    def later(by: int) -> None:
        with psycopg.connect(database_url) as connection:
            connection.execute("UPDATE policy_windows SET slot = slot - %s", (by,))

    complete(windows.take([need("value", 10, 10, per)]))
    later(slots - 1)
    # A slot may have passed by itself meanwhile, and one more would free it.
    assert complete(windows.take([need("value", 1, 10, per)])) is not None
    later(2)
    assert read_usage(windows) == {"value": 0}
    assert complete(windows.find_full([need("value", 10, 10, per)])) is None
    assert complete(windows.take([need("value", 10, 10, per)])) is None
    later(10**6)
    assert complete(windows.take([need("value", 4, 10, per)])) is None
    assert read_usage(windows) == {"value": 4}


def test_older_slots_expire_one_by_one(windows: PolicyWindowStore, database_url: str) -> None:
    for amount in (1, 2, 3):
        complete(windows.take([need("value", amount, 10)]))
        with psycopg.connect(database_url) as connection:
            connection.execute("UPDATE policy_windows SET slot = slot - 40")
    # Taken 120, 80 and 40 slots ago: the first is out of the day's 97.
    assert read_usage(windows) == {"value": 5}
    assert complete(windows.take([need("value", 6, 10)])) is not None
    assert complete(windows.take([need("value", 5, 10)])) is None


def test_a_clock_that_goes_back_frees_nothing(windows: PolicyWindowStore, database_url: str) -> None:
    complete(windows.take([need("value", 10, 10)]))
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE policy_windows SET slot = slot + 5")
    assert complete(windows.take([need("value", 1, 10)])) is not None
    assert read_usage(windows) == {"value": 10}


def test_a_new_maximum_acts_at_once_and_keeps_what_was_taken(windows: PolicyWindowStore) -> None:
    complete(windows.take([need("value", 6, 10)]))
    assert complete(windows.take([need("value", 1, 5)])) is not None
    assert complete(windows.take([need("value", 6, 12)])) is None
    assert read_usage(windows) == {"value": 12}
