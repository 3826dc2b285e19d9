"""Rates of the last minutes, calculated from counters that are read now and then."""

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge

from kms_service.telemetry.recent import MINUTES, Counts, History, Minute


class _Server:
    """The counters of a server, and a clock."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.registry = CollectorRegistry()
        labels = ["method", "route", "status"]
        self.requests = Counter("kms_service_http_requests_total", "", labels, registry=self.registry)
        self.problems = Counter("kms_service_http_problems_total", "", ["code"], registry=self.registry)
        self.calls = Counter(
            "kms_service_kms_requests_total", "", ["operation", "key", "outcome"], registry=self.registry
        )
        self.circuits = Gauge("kms_service_circuit_open", "", ["key"], registry=self.registry)
        self.history = History(lambda: self.now, lambda: self.registry)

    def answer(self, status: str, times: int = 1, route: str = "/wallets") -> None:
        self.requests.labels("GET", route, status).inc(times)

    def wait(self, seconds: float) -> None:
        """Let time pass, with a reading every ten seconds."""
        end = self.now + seconds
        while self.now < end:
            self.now += min(10.0, end - self.now)
            self.history.sample()


@pytest.fixture
def server() -> _Server:
    server = _Server()
    server.answer("200", 500)  # before anybody looked
    server.history.sample()
    return server


def test_nothing_is_reported_before_there_are_two_readings(server: _Server) -> None:
    assert server.history.recent() is None


def test_only_what_happened_since_the_first_reading_is_counted(server: _Server) -> None:
    server.answer("200", 30)
    server.answer("503", 10)
    server.problems.labels("kms_unavailable").inc(10)
    server.wait(20)
    recent = server.history.recent()
    assert recent is not None
    assert (recent.seconds, recent.requests, recent.problems) == (20, Counts(40, 10), {"kms_unavailable": 10})
    assert recent.requests.failed_share == 0.25
    assert recent.minutes == [None] * MINUTES


def test_totals_go_back_five_minutes_and_minutes_fifteen(server: _Server) -> None:
    for minute in range(20):
        server.answer("200", minute)
        server.answer("500", 1)
        server.wait(60)
    recent = server.history.recent()
    assert recent is not None
    assert (recent.seconds, recent.requests) == (300, Counts(15 + 16 + 17 + 18 + 19 + 5, 5))
    assert recent.minutes == [Minute(Counts(minute + 1, 1), Counts()) for minute in range(5, 20)]
    assert len(server.history._readings) < 100


def test_a_stretch_without_readings_is_unknown_and_not_zero(server: _Server) -> None:
    server.wait(120)
    server.now += 300  # the machine slept
    server.answer("200", 60)
    server.wait(60)
    recent = server.history.recent()
    assert recent is not None
    known = [minute is not None for minute in recent.minutes]
    assert known == [False] * 7 + [True, True] + [False] * 5 + [True]


def test_probes_and_pages_are_not_counted_as_traffic(server: _Server) -> None:
    for route in ("/livez", "/readyz", "/metrics", "/console", "/docs/{asset}"):
        server.answer("503", 9, route)
    server.answer("200", 1, "/wallets/{userId}")
    server.wait(10)
    recent = server.history.recent()
    assert recent is not None
    assert recent.requests == Counts(1, 0)


def test_calls_to_kms_are_counted_by_key_and_by_outcome(server: _Server) -> None:
    server.calls.labels("Encrypt", "alias/pool-1", "ok").inc(8)
    server.calls.labels("Decrypt", "alias/pool-1", "kms_throttled").inc(2)
    server.calls.labels("Decrypt", "alias/pool-2", "kms_key_unusable").inc(3)
    server.circuits.labels("alias/pool-1").set(0)
    server.circuits.labels("alias/pool-2").set(1)
    server.wait(10)
    recent = server.history.recent()
    assert recent is not None
    assert recent.kms_calls == Counts(13, 5)
    assert recent.keys == {"alias/pool-1": Counts(10, 2), "alias/pool-2": Counts(3, 3)}
    assert recent.outcomes == {"kms_throttled": 2, "kms_key_unusable": 3}
    assert recent.open_circuits == {"alias/pool-2"}


def test_two_looks_in_quick_succession_are_one_reading(server: _Server) -> None:
    server.now += 1
    server.history.sample()
    assert server.history.recent() is None
