"""Alert rules, dashboards and alarms use only metrics that the running service really has."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
import yaml
from moto import mock_aws
from prometheus_client import REGISTRY

from kms_endpoint import KmsEndpoint
from kms_service.telemetry import emf, metrics
from server_process import environment, serve
from wiring import FreshDatabase

DEPLOY = Path(__file__).parents[2] / "deploy"
ALERTS = (DEPLOY / "monitoring" / "alerts.yaml").read_text()
DASHBOARD = (DEPLOY / "monitoring" / "grafana-dashboard.json").read_text()
STACK = (DEPLOY / "cloudformation" / "monitoring.yaml").read_text()
NIGHTLY = (DEPLOY / "cloudformation" / "evidence.yaml").read_text()

PARAMETERS = {
    "AlarmTopicArn": "arn:aws:sns:eu-central-1:111122223333:alarms",
    "MonthlyBudget": 100,
    "WatchedCaller": "checkout",
}

_NAME = re.compile(r"kms_service_[a-z_]+")
_SELECTOR = re.compile(r"(kms_service_[a-z_]+)\{([^}]*)\}")
_GROUPED = re.compile(r" by \(([^)]*)\)")
_SHOWN = re.compile(r"\$labels\.(\w+)")
_RUNBOOK = re.compile(r"deploy/runbooks/[a-z-]+\.md")
_METRICS = [metric for metric in vars(metrics).values() if hasattr(metric, "_labelnames")]
_MATCHER = re.compile(r"(\w+)\s*[=!]~?")


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(ALERTS)["groups"] for rule in group["rules"]]


def family(name: str) -> str:
    """The name of a sample without what Prometheus appends to a histogram's or counter's."""
    return re.sub(r"_(bucket|count|sum|total)$", "", name)


@pytest.fixture(scope="module")
def families(fresh_database: FreshDatabase) -> Iterator[set[str]]:
    """The families that a scrape of the running service describes, whether anything was counted or not."""
    with fresh_database() as url, KmsEndpoint() as endpoint:
        endpoint.add_pool("Empressa-wallet-key", 10)
        with serve(environment(url, endpoint)) as server:
            text = httpx.get(f"{server.url}/metrics").text
            yield {family(name) for name in re.findall(r"^# HELP (kms_service_\w+)", text, re.MULTILINE)}


@pytest.mark.parametrize("text", [ALERTS, DASHBOARD, STACK], ids=["rules", "dashboard", "alarms"])
def test_every_metric_is_in_a_scrape_of_the_running_service(families: set[str], text: str) -> None:
    named = {family(name) for name in _NAME.findall(text)}
    assert len(named) > 10
    assert named <= families


@pytest.mark.parametrize("text", [ALERTS, json.dumps(json.loads(DASHBOARD)).replace('\\"', '"')])
def test_every_selected_label_is_one_of_the_metrics(text: str) -> None:
    labels = {
        metric.describe()[0].name: {*metric._labelnames, "le", "job", "instance"} for metric in _METRICS
    }
    for name, selector in _SELECTOR.findall(text):
        assert set(_MATCHER.findall(selector)) <= labels[family(name)], name


def test_every_alert_has_a_severity_and_a_runbook_that_exists() -> None:
    for rule in rules():
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert (DEPLOY.parent / rule["annotations"]["runbook"]).is_file(), rule["alert"]
    for page in _RUNBOOK.findall(STACK + DASHBOARD):
        assert (DEPLOY.parent / page).is_file()
    assert len(_RUNBOOK.findall(STACK)) == STACK.count("Type: AWS::CloudWatch::Alarm")
    assert len(_RUNBOOK.findall(DASHBOARD)) > 10


def test_every_label_that_an_alert_groups_by_or_shows_is_one_of_its_metrics() -> None:
    labels = {metric.describe()[0].name: {*metric._labelnames, "le", "instance"} for metric in _METRICS}
    for rule in rules():
        known = set[str]().union(*(labels[family(name)] for name in _NAME.findall(rule["expr"])))
        known |= {"namespace", "job_name"} if "kube_job_" in rule["expr"] else set()
        grouped = [label for names in _GROUPED.findall(rule["expr"]) for label in names.split(", ")]
        assert {*grouped, *_SHOWN.findall(rule["annotations"]["summary"])} <= known, rule["alert"]
    for panel in json.loads(DASHBOARD)["panels"]:
        for target in panel.get("targets", []):
            known = set[str]().union(*(labels[family(name)] for name in _NAME.findall(target["expr"])))
            grouped = [label for names in _GROUPED.findall(target["expr"]) for label in names.split(", ")]
            legend = re.findall(r"\{\{(\w+)\}\}", target.get("legendFormat", ""))
            assert {*grouped, *legend} <= known, panel["title"]


def test_every_page_of_prometheus_has_its_alarm_of_cloudwatch() -> None:
    paged = {rule["annotations"]["runbook"] for rule in rules() if rule["labels"]["severity"] == "page"}
    assert paged <= set(_RUNBOOK.findall(STACK + NIGHTLY))


class _Template(yaml.SafeLoader):
    """Reads a template as its deployment would, with every parameter given."""


def _resolve(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode):
        return PARAMETERS.get(str(node.value), str(node.value).replace("${AWS::Region}", "eu-central-1"))
    assert isinstance(node, yaml.SequenceNode)
    values = loader.construct_sequence(node, deep=True)
    return values[1] if suffix == "If" else values


_Template.add_multi_constructor("!", _resolve)


@pytest.fixture(scope="module")
def alarms() -> Iterator[list[dict[str, Any]]]:
    """The stack's alarms and dashboard as CloudWatch takes them; moto's CloudFormation makes no alarms."""
    resources = yaml.load(STACK, _Template)["Resources"]  # noqa: S506 - a safe loader
    with mock_aws():
        cloudwatch = boto3.client("cloudwatch", "eu-central-1")
        for name, resource in resources.items():
            if resource["Type"] == "AWS::CloudWatch::Alarm":
                cloudwatch.put_metric_alarm(AlarmName=name, **resource["Properties"])
            else:
                cloudwatch.put_dashboard(**resource["Properties"])
        assert cloudwatch.list_dashboards()["DashboardEntries"]
        yield cloudwatch.describe_alarms()["MetricAlarms"]


def watched_metrics(alarm: dict[str, Any]) -> list[tuple[str, frozenset[str]]]:
    """(metric, names of its dimensions) of an alarm, the service's own dimension left out."""
    stats = [query["MetricStat"]["Metric"] for query in alarm.get("Metrics", []) if query.get("MetricStat")]
    if alarm.get("MetricName"):
        stats.append(alarm)
    found = []
    for stat in stats:
        assert stat["Namespace"] == emf.NAMESPACE
        names = frozenset(dimension["Name"] for dimension in stat["Dimensions"])
        assert "Service" in names
        found.append((stat["MetricName"], names - {"Service"}))
    return found


def test_cloudwatch_takes_every_alarm(alarms: list[dict[str, Any]]) -> None:
    assert len(alarms) == STACK.count("Type: AWS::CloudWatch::Alarm")
    assert all(alarm["AlarmActions"] == [PARAMETERS["AlarmTopicArn"]] for alarm in alarms)


def test_every_alarm_watches_dimensions_that_are_written(alarms: list[dict[str, Any]]) -> None:
    families = {found.name: found for found in REGISTRY.collect()}
    written = {metric.describe()[0].name: metric for metric in _METRICS}
    watching = [pair for alarm in alarms for pair in watched_metrics(alarm)]
    assert len(watching) > len(alarms) / 2
    for name, dimensions in watching:
        metric = written[family(name)]
        every = dict.fromkeys(metric._labelnames, "any")
        if families[family(name)].type == "gauge":
            assert dimensions == every.keys(), name
        else:
            breakdowns = emf.breakdowns(family(name), every)
            assert dimensions in [frozenset(label for label, _ in each) for each in breakdowns], name


def test_the_stack_is_valid() -> None:
    command = [Path(sys.executable).with_name("cfn-lint"), DEPLOY / "cloudformation" / "monitoring.yaml"]
    linted = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own file
    assert (linted.returncode, linted.stdout) == (0, "")


def test_the_panels_have_what_they_need_and_do_not_overlap() -> None:
    grafana = json.loads(DASHBOARD)
    panels = [panel for panel in grafana["panels"] if panel["type"] != "row"]
    assert len({panel["id"] for panel in grafana["panels"]}) == len(grafana["panels"])
    assert all(panel["targets"] and panel["description"] for panel in panels)
    cells = [
        (x, y)
        for panel in grafana["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells)), "panels overlap"
    assert max(x for x, _ in cells) < 24


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
@pytest.mark.parametrize(
    "arguments", [("check", "rules", "alerts.yaml"), ("test", "rules", "alerts.test.yaml")]
)
def test_promtool_agrees(arguments: tuple[str, ...]) -> None:
    done = subprocess.run(  # noqa: S603 - our own files
        ["promtool", *arguments],  # noqa: S607 - wherever it is installed
        cwd=DEPLOY / "monitoring",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
