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
from waiting import wait_until
from wiring import FreshDatabase

ROUND = 12
PAUSE_SECONDS = 0.3  # fifty requests a second, of sixteen callers


@pytest.fixture(scope="module")
def regions() -> Iterator[TwoRegions]:
    with two_regions(10) as regions:
        yield regions


@pytest.fixture(scope="module")
def service(fresh_database: FreshDatabase, regions: TwoRegions) -> Iterator[Load]:
    """One service for all: each test leaves it with both Regions repaired."""
    with fresh_database() as url, serving(url, regions) as load:
        yield load


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


def _serve_round(load: Load) -> set[str]:
    """Create and read some wallets, none of which fails; the Regions that new ones are wrapped in."""
    regions = set()
    users = [f"{load.run_id}-{time.monotonic_ns()}" for _ in range(ROUND)]
    with load.server.client(load.token) as client:
        for user in users:
            made = client.put(f"/wallets/{user}")
            assert made.status_code == 201, made.text
            regions.add(made.json()["kmsRegion"])
            read = client.get(f"/wallets/{user}/private-key")
            assert read.status_code == 200, read.text
            assert read.json()["walletAddress"] == made.json()["walletAddress"]
    return regions


def _wait_until_back(load: Load) -> None:
    """Wait until the Region has come back as often as it was away."""
    server = load.server
    wait_until(lambda: len(server.events("region_back")) == len(server.events("region_away")))


@pytest.mark.parametrize("name", ["hangs", "refuses connections", "answers 500", "flaps, cutting"])
def test_when_a_region_fails_under_load_callers_are_served_by_the_other(
    service: Load, regions: TwoRegions, name: str
) -> None:
    fault: Callable[[KmsEndpoint], Repair] = FAULTS[name]
    load = Load(service.server, service.token, PAUSE_SECONDS)
    before = len(load.server.events("region_away"))
    with _callers(load):
        wait_until(lambda: _serve_round(load) == {HOME})  # soon after an earlier fault, or at once
        repair = fault(regions.home)
        try:
            load.server.wait_for("region_away", before + 1)
            known_at = time.monotonic() - load.started
            assert _serve_round(load) <= ({HOME, FALLBACK} if name.startswith("flaps") else {FALLBACK})
        finally:
            repair()
        _wait_until_back(load)
        assert _serve_round(load) <= {HOME, FALLBACK}
    failed = [each for each in load.requests if each.status not in (200, 201)]
    assert [each for each in failed if each.at > known_at] == []
    assert asyncio.run(load.count_lost()) == 0
