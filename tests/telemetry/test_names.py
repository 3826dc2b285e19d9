"""Names and labels by Prometheus' conventions: https://prometheus.io/docs/practices/naming/"""

import re

import pytest
from prometheus_client import REGISTRY, Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

from kms_service.telemetry import metrics

OURS = [metric for metric in vars(metrics).values() if isinstance(metric, MetricWrapperBase)]
BOUNDED_LABELS = {
    "method", "route", "status", "operation", "key", "outcome", "purpose", "kind", "actor", "action", "error",
    "code", "reason", "state", "version", "python",
    "policy", "rule", "region",
}  # fmt: skip
# Base units and things that are counted; a name that ends in anything else is a typing error.
GAUGE_ENDINGS = (
    "_seconds", "_info", "_in_flight", "_keys", "_connections", "wallets", "_open", "_draining", "_enabled",
    "_sealed", "_wallets", "_key_status",
)  # fmt: skip


@pytest.mark.parametrize("metric", OURS, ids=lambda metric: metric._name)
def test_a_metric_is_named_by_the_conventions(metric: MetricWrapperBase) -> None:
    (family,) = metric.describe()
    assert re.fullmatch(r"kms_service_[a-z]+(_[a-z]+)*", family.name)
    assert set(metric._labelnames) <= BOUNDED_LABELS
    assert family.documentation.endswith(".")
    assert not family.name.endswith(("_count", "_sum", "_bucket", "_created", "_ms", "_milliseconds"))
    if isinstance(metric, Histogram):
        assert family.name.endswith("_seconds")
    elif isinstance(metric, Gauge):
        assert family.name.endswith(GAUGE_ENDINGS)
        assert metric._multiprocess_mode.startswith("live"), "a dead worker's gauge must not linger"
    else:
        assert isinstance(metric, Counter)
        assert not family.name.endswith("_seconds")


def test_no_metric_is_made_elsewhere() -> None:
    registered = {family.name for family in REGISTRY.collect() if family.name.startswith("kms_service_")}
    assert registered == {next(iter(metric.describe())).name for metric in OURS}


@pytest.fixture
def no_callers_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_callers", set())


@pytest.mark.usefixtures("no_callers_yet")
def test_a_hundred_callers_have_labels_of_their_own_and_the_rest_are_other() -> None:
    names = [metrics.caller_label(f"shop-{number}") for number in range(150)]
    assert names[:100] == [f"shop-{number}" for number in range(100)]
    assert set(names[100:]) == {"other"}
    assert metrics.caller_label("shop-7") == "shop-7"
