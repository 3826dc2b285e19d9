"""Computes how fast a running server's counters grow from one scrape: the count and the start time."""

from collections import defaultdict

from prometheus_client.parser import text_string_to_metric_families


def billable_requests(scrape: str, now: float) -> dict[str, float]:
    """Requests to KMS per second, by operation and purpose, averaged since the server started.

    Args:
        scrape: the answer of `/metrics`.
        now: Unix time.

    Raises:
        ValueError: this is not a scrape of a running server of this service.
    """
    counts: dict[str, float] = defaultdict(float)
    started = None
    try:
        families = list(text_string_to_metric_families(scrape))
    except (ValueError, IndexError, KeyError) as error:
        raise ValueError("does not answer with Prometheus metrics") from error
    for sample in (sample for family in families for sample in family.samples):
        if sample.name == "kms_service_kms_billable_requests_total":
            counts[f"{sample.labels['operation']} ({sample.labels['purpose']})"] += sample.value
        elif sample.name == "kms_service_start_time_seconds":
            started = min(sample.value, started or sample.value)
    if started is None or not counts:
        raise ValueError("does not answer with the metrics of a running kms-service")
    return {name: count / max(now - started, 1.0) for name, count in sorted(counts.items())}
