"""The first Region fails under load: once that is known every caller is served, and with the right wallet.

`region_load.py` measures the same at length.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from fault_load import Load
from kms_endpoint import KmsEndpoint
from regions.region_load import FAULTS, Repair, serving
from regions.two_regions import FALLBACK, HOME, TwoRegions, two_regions

ROUND = 12


@pytest.fixture
def regions() -> Iterator[TwoRegions]:
    with two_regions(10) as regions:
        yield regions


@contextmanager
def _callers(load: Load) -> Iterator[None]:
    """Callers that come and go until the block ends."""
    over = threading.Event()

    def call() -> None:
        while not over.is_set():
            asyncio.run(load.run(0.5))

    thread = threading.Thread(target=call)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _assert_served(load: Load, regions: set[str]) -> None:
    """Create and read some wallets, none of which fails; new ones are wrapped in these Regions."""
    users = [f"{load.run_id}-{time.monotonic_ns()}" for _ in range(ROUND)]
    with load.server.client(load.token) as client:
        for user in users:
            made = client.put(f"/wallets/{user}")
            assert made.status_code == 201, made.text
            assert made.json()["kmsRegion"] in regions
            read = client.get(f"/wallets/{user}/private-key")
            assert read.status_code == 200, read.text
            assert read.json()["walletAddress"] == made.json()["walletAddress"]


@pytest.mark.parametrize("name", ["hangs", "refuses connections", "answers 500", "flaps, cutting"])
def test_when_a_region_fails_under_load_callers_are_served_by_the_other(
    database_url: str, regions: TwoRegions, name: str
) -> None:
    fault: Callable[[KmsEndpoint], Repair] = FAULTS[name]
    with serving(database_url, regions) as load:
        with _callers(load):
            _assert_served(load, {HOME})
            repair = fault(regions.home)
            try:
                load.server.wait_for("region_away")
                known_at = time.monotonic() - load.started
                _assert_served(load, {HOME, FALLBACK} if name.startswith("flaps") else {FALLBACK})
            finally:
                repair()
            load.server.wait_for("region_back")
            _assert_served(load, {HOME, FALLBACK})
        failed = [each for each in load.requests if each.status not in (200, 201)]
        assert [each for each in failed if each.at > known_at] == []
        assert asyncio.run(load.count_lost()) == 0
