"""Writes the metrics for CloudWatch into the log, in the Embedded Metric Format; no sidecar is needed.

Every process writes what it has counted since its last lines; CloudWatch adds up processes and replicas.
Source: "Specification: Embedded metric format", Amazon CloudWatch User Guide. Its limits: at most 100 metrics
and 30 dimensions per document, 100 values per metric, 1 MB per line.
"""

import json
import math
import threading
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Sample

FLUSH_SECONDS = 60.0
NAMESPACE = "kms-service"
MAX_VALUES = 100

Labels = tuple[tuple[str, str], ...]
Value = float | list[float]

# CloudWatch charges for each set of labels and each combination of their values. Alarms and dashboards need
# only these. A metric that is not named here is written as its total, and with all of its labels.
_BREAKDOWNS: Mapping[str, Sequence[tuple[str, ...]]] = {
    "kms_service_http_requests": ((), ("status",), ("route", "status")),
    "kms_service_kms_requests": ((), ("outcome",), ("operation", "outcome"), ("key", "outcome")),
    "kms_service_secrets_released": ((), ("actor",), ("kind",)),
    "kms_service_audit_rows": ((), ("action",)),
}
# The last one would be four metrics per key, and `pool_keys` has their sums.
_LEFT_OUT = frozenset({"kms_service_build_info", "kms_service_start_time_seconds", "kms_service_key_status"})


class EmbeddedMetrics:
    """Writes the growth of this process's metrics as EMF documents. Thread-safe.

    Args:
        write: writes one line.
        clock: returns Unix time in seconds.
        registry: this process's metrics; each process writes its own.
    """

    def __init__(
        self,
        write: Callable[[str], object],
        clock: Callable[[], float] = time.time,
        registry: CollectorRegistry = REGISTRY,
    ) -> None:
        self._write = write
        self._clock = clock
        self._registry = registry
        self._seen: dict[tuple[str, Labels], float] = {}
        self._lock = threading.Lock()

    def flush(self) -> None:
        """Write one document for each combination of dimensions that has values."""
        with self._lock:
            documents = self._documents()
        at = int(self._clock() * 1000)
        for dimensions, values in documents.items():
            self._write(json.dumps(_document(at, dimensions, values), separators=(",", ":")))

    def _documents(self) -> dict[Labels, dict[str, Value]]:
        documents: dict[Labels, dict[str, Value]] = defaultdict(dict)
        for family in self._registry.collect():
            if family.name.startswith("kms_service_") and family.name not in _LEFT_OUT:
                for name, dimensions, value in self._values(family):
                    documents[dimensions][name] = value
        return documents

    def _values(self, family: Metric) -> Iterator[tuple[str, Labels, Value]]:
        if family.type == "gauge":
            for sample in family.samples:
                yield sample.name, tuple(sample.labels.items()), sample.value
        elif family.type == "counter":
            yield from self._growth(family)
        else:
            yield from self._distributions(family)

    def _growth(self, family: Metric) -> Iterator[tuple[str, Labels, float]]:
        sums: dict[Labels, float] = defaultdict(float)
        for sample in family.samples:
            if sample.name.endswith("_total") and (growth := self._since_last(sample)):
                for dimensions in breakdowns(family.name, sample.labels):
                    sums[dimensions] += growth
        for dimensions, growth in sums.items():
            yield f"{family.name}_total", dimensions, growth

    def _distributions(self, family: Metric) -> Iterator[tuple[str, Labels, list[float]]]:
        buckets: dict[Labels, dict[float, float]] = defaultdict(lambda: defaultdict(float))
        for sample in family.samples:
            if sample.name.endswith("_bucket"):
                growth = self._since_last(sample)
                labels = {name: value for name, value in sample.labels.items() if name != "le"}
                for dimensions in breakdowns(family.name, labels):
                    buckets[dimensions][float(sample.labels["le"])] += growth
        for dimensions, cumulative in buckets.items():
            if any(cumulative.values()):
                yield family.name, dimensions, representatives(sorted(cumulative.items()))

    def _since_last(self, sample: Sample) -> float:
        key = sample.name, tuple(sample.labels.items())
        growth = sample.value - self._seen.get(key, 0.0)
        self._seen[key] = sample.value
        return growth


def representatives(cumulative: Sequence[tuple[float, float]]) -> list[float]:
    """At most 100 values with the same percentiles as a histogram, as far as its buckets show them.

    CloudWatch takes single values and no buckets, so a busy minute is thinned out evenly. That keeps the
    percentiles, but not the number of values; the counters have that.

    Args:
        cumulative: (upper bound, observations up to it), in order; the last bound is infinite.
    """
    total = cumulative[-1][1]
    ranks = [0.0, *(count for _, count in cumulative)]
    bounds = [0.0, *(bound for bound, _ in cumulative)]
    values = min(int(total), MAX_VALUES)
    return [round(_at_rank((number + 0.5) * total / values, ranks, bounds), 6) for number in range(values)]


def _at_rank(rank: float, ranks: Sequence[float], bounds: Sequence[float]) -> float:
    above = bisect_left(ranks, rank)
    low, high = bounds[above - 1], bounds[above]
    if math.isinf(high):
        return low  # no more is known
    return low + (high - low) * (rank - ranks[above - 1]) / (ranks[above] - ranks[above - 1])


def breakdowns(name: str, labels: Mapping[str, str]) -> list[Labels]:
    """The sets of dimensions under which a counter or histogram is written; the empty set is its total."""
    chosen = _BREAKDOWNS.get(name, ((), tuple(labels)))
    return list(dict.fromkeys(tuple((label, labels[label]) for label in names) for names in chosen))


def _document(at: int, dimensions: Labels, values: Mapping[str, Value]) -> dict[str, Any]:
    # The service's name is always a dimension: the specification does not allow an empty set.
    members = {"Service": NAMESPACE, **dict(dimensions)}
    metrics = [{"Name": name, "Unit": "Seconds" if name.endswith("_seconds") else "Count"} for name in values]
    directive = {"Namespace": NAMESPACE, "Dimensions": [list(members)], "Metrics": metrics}
    return {"_aws": {"Timestamp": at, "CloudWatchMetrics": [directive]}, **members, **values}
