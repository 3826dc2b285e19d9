"""deploy/monitoring/metrics.md lists every metric with its own help text."""

import re
from pathlib import Path

from prometheus_client.metrics import MetricWrapperBase

from kms_service.telemetry import metrics

TABLE = (Path(__file__).parents[2] / "deploy/monitoring/metrics.md").read_text()


def row(metric: MetricWrapperBase) -> str:
    """The line of the table for a metric."""
    (family,) = metric.describe()
    name = f"{family.name}_total" if family.type == "counter" else family.name
    labels = ", ".join(f"`{label}`" for label in metric._labelnames)
    return f"| `{name}` | {family.type} | {labels} | {family.documentation} |".replace("|  |", "| |")


def test_the_table_is_what_the_service_defines() -> None:
    defined = [row(metric) for metric in vars(metrics).values() if isinstance(metric, MetricWrapperBase)]
    table = re.findall(r"^\| `kms_service_.*$", TABLE, re.MULTILINE)
    assert table == defined, "these are the rows:\n" + "\n".join(defined)
