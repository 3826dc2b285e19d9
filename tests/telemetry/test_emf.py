"""CloudWatch's Embedded Metric Format: the shape, the limits, and the numbers.

The shape is that of "Specification: Embedded metric format" in the Amazon CloudWatch User Guide.
"""

import json
from statistics import quantiles
from typing import Any

import pytest
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from kms_endpoint import KmsEndpoint
from kms_service.loopback import free_port
from kms_service.telemetry.emf import NAMESPACE, EmbeddedMetrics, representatives
from server_process import environment, make_token, serve

UNITS = {"Seconds", "Count"}


def check(document: dict[str, Any]) -> None:
    """What the specification says a document must be."""
    assert set(document["_aws"]) == {"Timestamp", "CloudWatchMetrics"}
    assert isinstance(document["_aws"]["Timestamp"], int)
    for directive in document["_aws"]["CloudWatchMetrics"]:
        assert set(directive) == {"Namespace", "Dimensions", "Metrics"}
        assert 1 <= len(directive["Namespace"]) <= 1024
        for dimensions in directive["Dimensions"]:
            assert 1 <= len(dimensions) <= 30
            for name in dimensions:
                assert isinstance(document[name], str)
                assert 1 <= len(document[name]) <= 1024
        assert 1 <= len(directive["Metrics"]) <= 100
        for metric in directive["Metrics"]:
            assert set(metric) == {"Name", "Unit"}
            assert metric["Unit"] in UNITS
            values = document[metric["Name"]]
            values = values if isinstance(values, list) else [values]
            assert 1 <= len(values) <= 100
            assert all(isinstance(value, int | float) for value in values)


class Scene:
    """A registry of three metrics, and what was written from it."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.calls = Counter(
            "kms_service_kms_requests_total", "x.", ["operation", "key", "outcome"], registry=self.registry
        )
        self.times = Histogram(
            "kms_service_http_request_duration_seconds",
            "x.",
            ["route"],
            buckets=(1, 2),
            registry=self.registry,
        )
        self.keys = Gauge("kms_service_pool_keys", "x.", ["status"], registry=self.registry)
        self.lines: list[str] = []
        self.metrics = EmbeddedMetrics(self.lines.append, lambda: 1_700_000_000.5, self.registry)

    def flush(self) -> dict[tuple[tuple[str, str], ...], dict[str, Any]]:
        """Dimensions (without the service's) -> document, of the lines written now."""
        self.lines.clear()
        self.metrics.flush()
        documents = [json.loads(line) for line in self.lines]
        found = {}
        for document in documents:
            check(document)
            (dimensions,) = document["_aws"]["CloudWatchMetrics"][0]["Dimensions"]
            found[tuple((name, document[name]) for name in dimensions if name != "Service")] = document
        assert len(found) == len(documents), "two documents have the same dimensions"
        return found


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_counters_are_written_as_growth_in_total_and_broken_down(scene: Scene) -> None:
    scene.calls.labels("Encrypt", "alias/a-1", "ok").inc(3)
    scene.calls.labels("Decrypt", "alias/a-1", "ok").inc(4)
    scene.calls.labels("Decrypt", "alias/a-2", "kms_throttled").inc()
    name = "kms_service_kms_requests_total"
    first = {dimensions: document[name] for dimensions, document in scene.flush().items()}
    assert first == {
        (): 8,
        (("outcome", "ok"),): 7,
        (("outcome", "kms_throttled"),): 1,
        (("operation", "Encrypt"), ("outcome", "ok")): 3,
        (("operation", "Decrypt"), ("outcome", "ok")): 4,
        (("operation", "Decrypt"), ("outcome", "kms_throttled")): 1,
        (("key", "alias/a-1"), ("outcome", "ok")): 7,
        (("key", "alias/a-2"), ("outcome", "kms_throttled")): 1,
    }
    scene.calls.labels("Encrypt", "alias/a-1", "ok").inc(2)
    assert scene.flush()[()][name] == 2
    assert scene.flush() == {}


def test_gauges_are_written_as_they_are(scene: Scene) -> None:
    scene.keys.labels("Active").set(9)
    assert scene.flush()[("status", "Active"),]["kms_service_pool_keys"] == 9
    assert scene.flush()[("status", "Active"),]["kms_service_pool_keys"] == 9


def test_histograms_are_written_as_values_with_their_percentiles(scene: Scene) -> None:
    for _ in range(3):
        scene.times.labels("/wallets").observe(0.5)
    scene.times.labels("/livez").observe(1.5)
    written = scene.flush()
    name = "kms_service_http_request_duration_seconds"
    assert len(written[()][name]) == 4
    assert all(0 < value < 1 for value in written[("route", "/wallets"),][name])
    assert all(1 < value < 2 for value in written[("route", "/livez"),][name])
    assert written[()]["_aws"]["Timestamp"] == 1_700_000_000_500
    assert written[()]["_aws"]["CloudWatchMetrics"][0]["Namespace"] == NAMESPACE


def test_a_busy_minute_is_thinned_to_a_hundred_values_of_the_same_percentiles() -> None:
    # 10,000 observations: 90 % up to 0.1 s, 9.5 % up to 0.5 s, the rest beyond the last bound of 1 s.
    values = representatives([(0.1, 9000), (0.5, 9950), (1.0, 9950), (float("inf"), 10_000)])
    assert len(values) == 100
    assert values == sorted(values)
    percentiles = quantiles(values, n=100, method="inclusive")
    assert 0.04 < percentiles[49] < 0.06
    assert 0.09 < percentiles[88] <= 0.1
    assert 0.4 < percentiles[97] <= 0.5


def test_a_value_beyond_the_last_bound_is_written_as_that_bound() -> None:
    assert representatives([(1.0, 0), (float("inf"), 2)]) == [1.0, 1.0]


def test_all_metrics_of_the_service_fit_one_document() -> None:
    families = [family for family in REGISTRY.collect() if family.name.startswith("kms_service_")]
    assert len(families) <= 100


def test_every_worker_writes_a_last_time_when_it_ends_whatever_the_log_level(
    database_url: str, kms_endpoint: KmsEndpoint
) -> None:
    env = environment(
        database_url, kms_endpoint, METRICS_EMF="true", LOG_LEVEL="ERROR", WORKERS=2, PORT=free_port()
    )
    token = make_token(env, "tester", "wallets:create")
    with serve(env) as server, server.client(token) as client:
        for user in range(20):
            client.put(f"/wallets/user{user}").raise_for_status()
    documents = [json.loads(line) for line in server.out if '"_aws"' in line]
    for document in documents:
        check(document)
    totals = [
        document["kms_service_http_requests_total"]
        for document in documents
        if document["_aws"]["CloudWatchMetrics"][0]["Dimensions"] == [["Service", "status"]]
        and document["status"] == "201"
    ]
    assert sum(totals) == 20
    assert token not in server.printed
