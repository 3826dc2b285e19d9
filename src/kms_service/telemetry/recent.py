"""Rates of the last minutes from the process's own metrics, for whoever has no Prometheus at hand.

Every few seconds the counters are read as a scrape reads them, so that each of several workers knows the sums
of all. Readings are kept for a quarter of an hour. A worker that was started lately has fewer, and says how
far back they go.
"""

import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from prometheus_client import CollectorRegistry
from prometheus_client.samples import Sample

from kms_service.telemetry.exposition import scrape

SAMPLE_SECONDS = 10.0
TOTAL_SECONDS = 300.0
MINUTES = 15
# These are not traffic: counting them would hide an error rate, or feign one.
_NOT_COUNTED = ("/livez", "/readyz", "/health", "/metrics", "/docs", "/openapi.json", "/console")
_KEPT_SECONDS = 60.0 * MINUTES + 2 * SAMPLE_SECONDS
_LEAST_SECONDS = 5.0
# Neither is a failure: with the second, nobody was waiting for the answer.
_NO_FAILURES = frozenset({"ok", "cancelled"})

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Counts:
    """How many had been counted at one moment, and how many of them failed."""

    all: float = 0.0
    failed: float = 0.0

    def __sub__(self, before: "Counts") -> "Counts":
        return Counts(self.all - before.all, self.failed - before.failed)

    @property
    def failed_share(self) -> float:
        """The share that failed, 0 to 1; 0 if nothing was counted."""
        return self.failed / self.all if self.all else 0.0


@dataclass(frozen=True, slots=True)
class Minute:
    """What happened in one minute."""

    requests: Counts
    kms_calls: Counts


@dataclass(frozen=True, slots=True)
class Recent:
    """What happened lately in all workers of this server.

    Attributes:
        seconds: how far back the counts go, at most five minutes.
        requests: answered requests, without probes and pages; those answered with 5xx failed.
        problems: problem answers by error code; only those that occurred.
        kms_calls: calls to KMS; those with another outcome than `ok` or `cancelled` failed.
        keys: the same by the key's alias; only keys that were called.
        outcomes: failed calls to KMS, by error code.
        open_circuits: aliases of keys that some worker keeps new wallets away from.
        integrity_failures: wallets that did not open, since the server started.
        canaries_opened: releases from canary wallets, since the server started.
        minutes: the last quarter of an hour, oldest first; None for minutes without readings.
    """

    seconds: float
    requests: Counts
    problems: Mapping[str, float]
    kms_calls: Counts
    keys: Mapping[str, Counts]
    outcomes: Mapping[str, float]
    open_circuits: frozenset[str]
    integrity_failures: float
    canaries_opened: float
    minutes: Sequence[Minute | None]


@dataclass(frozen=True, slots=True)
class _Reading:
    at: float
    requests: Counts = field(default_factory=Counts)
    problems: Mapping[str, float] = field(default_factory=dict)
    kms_calls: Counts = field(default_factory=Counts)
    keys: Mapping[str, Counts] = field(default_factory=dict)
    outcomes: Mapping[str, float] = field(default_factory=dict)
    open_circuits: frozenset[str] = frozenset()
    integrity_failures: float = 0.0
    canaries_opened: float = 0.0


class History:
    """Keeps readings of the counters. Thread-safe.

    Args:
        clock: seconds that only grow.
        registry: returns what is read, as for a scrape.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        registry: Callable[[], CollectorRegistry] = scrape,
    ) -> None:
        self._clock = clock
        self._registry = registry
        self._readings: deque[_Reading] = deque()
        self._lock = threading.Lock()

    def sample(self) -> None:
        """Read the counters, unless that was done just now; run every ten seconds."""
        with self._lock:
            now = self._clock()
            if self._readings and now - self._readings[-1].at < _LEAST_SECONDS:
                return
            self._readings.append(_read(now, self._registry()))
            while self._readings[0].at < now - _KEPT_SECONDS:
                self._readings.popleft()

    def recent(self) -> Recent | None:
        """What happened up to the last reading; None until there are two readings."""
        readings = list(self._readings)
        if len(readings) < 2:  # noqa: PLR2004 # a difference takes two
            return None
        last = readings[-1]
        first = _nearest(readings, last.at - TOTAL_SECONDS) or readings[0]
        keys = {alias: counts - first.keys.get(alias, Counts()) for alias, counts in last.keys.items()}
        return Recent(
            seconds=last.at - first.at,
            requests=last.requests - first.requests,
            problems=_growth(first.problems, last.problems),
            kms_calls=last.kms_calls - first.kms_calls,
            keys={alias: counts for alias, counts in keys.items() if counts.all},
            outcomes=_growth(first.outcomes, last.outcomes),
            open_circuits=last.open_circuits,
            integrity_failures=last.integrity_failures,
            canaries_opened=last.canaries_opened,
            minutes=list(_minutes(readings)),
        )


def _nearest(readings: Sequence[_Reading], at: float) -> _Reading | None:
    """The reading closest to a moment; None if none is close enough to stand for it."""
    nearest = min(readings, key=lambda reading: abs(reading.at - at))
    return nearest if abs(nearest.at - at) <= SAMPLE_SECONDS else None


def _minutes(readings: Sequence[_Reading]) -> Iterator[Minute | None]:
    last = readings[-1].at
    marks = [_nearest(readings, last - 60.0 * back) for back in range(MINUTES, -1, -1)]
    for before, after in pairwise(marks):
        if before is None or after is None or before is after:
            yield None
        else:
            yield Minute(after.requests - before.requests, after.kms_calls - before.kms_calls)


def _growth(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    growth = {name: count - before.get(name, 0.0) for name, count in after.items()}
    return {name: count for name, count in growth.items() if count > 0}


def _read(at: float, registry: CollectorRegistry) -> _Reading:
    samples: dict[str, list[Sample]] = defaultdict(list)
    for family in registry.collect():
        for sample in family.samples:
            samples[sample.name].append(sample)
    kms = samples["kms_service_kms_requests_total"]
    return _Reading(
        at,
        requests=_counts(
            samples["kms_service_http_requests_total"],
            counts=lambda labels: not labels["route"].startswith(_NOT_COUNTED),
            failed=lambda labels: labels["status"].startswith("5"),
        ),
        problems=_sum_by(samples["kms_service_http_problems_total"], "code"),
        kms_calls=_counts(kms, failed=_is_failure),
        keys={alias: _counts(of_key, failed=_is_failure) for alias, of_key in _group(kms, "key").items()},
        outcomes=_sum_by([sample for sample in kms if _is_failure(sample.labels)], "outcome"),
        open_circuits=frozenset(
            sample.labels["key"] for sample in samples["kms_service_circuit_open"] if sample.value
        ),
        integrity_failures=sum(each.value for each in samples["kms_service_integrity_failures_total"]),
        canaries_opened=sum(each.value for each in samples["kms_service_canary_opened_total"]),
    )


def _is_failure(labels: Labels) -> bool:
    return labels["outcome"] not in _NO_FAILURES


def _counts(
    samples: Sequence[Sample],
    *,
    counts: Callable[[Labels], bool] = lambda _: True,
    failed: Callable[[Labels], bool],
) -> Counts:
    counted = [sample for sample in samples if counts(sample.labels)]
    return Counts(
        sum(sample.value for sample in counted),
        sum(sample.value for sample in counted if failed(sample.labels)),
    )


def _sum_by(samples: Sequence[Sample], label: str) -> dict[str, float]:
    return {value: sum(each.value for each in of) for value, of in _group(samples, label).items()}


def _group(samples: Sequence[Sample], label: str) -> dict[str, list[Sample]]:
    groups: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        groups[sample.labels[label]].append(sample)
    return dict(groups)
