"""The runbooks are right: their shape, every command, query and metric in them; and commands elsewhere."""

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import click
import psycopg
import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from kms_service.cli.root import root
from kms_service.telemetry import metrics
from wiring import FreshDatabase

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
PAGES = {page.name: page.read_text() for page in sorted((DEPLOY / "runbooks").glob("*.md"))}
INDEX = PAGES["README.md"]
OTHERS = [ROOT / "README.md", ROOT / "SECURITY.md", DEPLOY / "README.md", *(ROOT / "docs").glob("*.md")]
SHAPE = ["Symptoms", "Impact", "Diagnose", "Contain", "Fix", "Resolved when", "Follow up"]

_BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)
_INLINE = re.compile(r"`(kms-service [^`]+)`")
_COMMAND = re.compile(r"kms-service [^|)\n]+")
_METRIC = re.compile(r"kms_service_[a-z_]+")


def blocks(language: str) -> Iterator[tuple[str, str]]:
    """(page, text) of each block of code in this language."""
    for name, text in PAGES.items():
        yield from ((name, block) for found, block in _BLOCK.findall(text) if found == language)


def commands() -> list[str]:
    """Every `kms-service …` command line, without what its output is piped into."""
    typed = [line for _, block in blocks("sh") for line in _COMMAND.findall(block)]
    for kind, block in _BLOCK.findall("\n".join(page.read_text() for page in OTHERS)):
        # At the start of a line: `kubectl -n kms-service …` is not ours.
        typed += re.findall(r"^kms-service [^|)\n]+", block, re.MULTILINE) if kind == "sh" else []
    inline = [code for text in PAGES.values() for code in _INLINE.findall(_BLOCK.sub("", text))]
    for page in OTHERS:
        # With an option of its own: elsewhere these pages name commands, and leave out their arguments.
        found = _INLINE.findall(_BLOCK.sub("", page.read_text()))
        inline += [code for code in found if re.fullmatch(r"kms-service [a-z].* --.+", code)]
    return sorted({command.strip() for command in typed + inline if "…" not in command})


def statements() -> list[str]:
    """Each block of SQL, without the lines that are psql's own."""
    return [re.sub(r"(?m)^\\.*$", "", block) for _, block in blocks("sql")]


def expressions() -> list[str]:
    return [line for _, block in blocks("promql") for line in block.splitlines() if line]


@pytest.mark.parametrize("page", [name for name in PAGES if name != "README.md"])
def test_every_page_has_the_same_shape(page: str) -> None:
    assert re.findall(r"^## (.+)$", PAGES[page], re.MULTILINE) == SHAPE
    assert f"]({page})" in INDEX


def test_the_index_leads_from_each_alert_and_alarm_to_its_page() -> None:
    rules = yaml.safe_load((DEPLOY / "monitoring/alerts.yaml").read_text())["groups"][0]["rules"]
    pages = {rule["alert"]: rule["annotations"]["runbook"] for rule in rules}
    stack = (DEPLOY / "cloudformation/monitoring.yaml").read_text()
    pages |= dict(
        re.findall(r"\n  (\w+):\n    Type: AWS::CloudWatch::Alarm\n(?:.*\n)*?.*Runbook: (\S+)", stack)
    )
    assert len(pages) == len(rules) + stack.count("Type: AWS::CloudWatch::Alarm")
    for alert, page in pages.items():
        row = next(line for line in INDEX.splitlines() if re.search(rf"\b{alert}\b", line))
        assert f"]({Path(page).name})" in row, alert


@pytest.mark.parametrize("typed", commands())
def test_every_command_is_one_of_the_command_line(
    typed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADOPT_FROM_URL", "postgresql://reader@other-host/other")
    (tmp_path / "service.log").touch()
    words = shlex.split(typed, comments=True)[1:]
    command: click.Command = root
    while isinstance(command, click.Group):
        found = command.get_command(click.Context(command), words[0]) if words else None
        if found is None and not words:
            return  # a group is named, not typed
        assert found is not None, f"no such command: {typed}"
        command, words = found, words[1:]
    with closing(command.make_context(typed, words)):
        pass


@pytest.fixture(scope="module")
def database(fresh_database: FreshDatabase) -> Iterator[str]:
    with fresh_database() as url:
        yield url


@pytest.mark.parametrize("block", statements())
def test_every_query_runs_on_the_schema(database: str, block: str) -> None:
    with psycopg.connect(database) as connection:
        connection.execute(block.encode())
        connection.rollback()


def test_every_metric_exists_with_the_labels_it_is_asked_for() -> None:
    labels: dict[str, set[str]] = {}
    for metric in vars(metrics).values():
        if isinstance(metric, MetricWrapperBase):
            family = next(iter(metric.describe())).name
            for ending in ("", "_total", "_bucket", "_count", "_sum"):
                labels[family + ending] = {*metric._labelnames, "le"}
    for name, text in PAGES.items():
        assert {*_METRIC.findall(text)} <= labels.keys(), name
        for metric_name, selected in re.findall(r"(kms_service_[a-z_]+)\{([^}]*)\}", text):
            assert set(re.findall(r"(\w+)(?=[=!]|,|$)", selected)) - {"Active"} <= labels[metric_name], name
    for expression in expressions():
        known = set[str]().union(*(labels[name] for name in _METRIC.findall(expression)))
        for grouped in re.findall(r" by \(([^)]*)\)", expression):
            assert set(grouped.split(", ")) <= known, expression


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_takes_every_expression(tmp_path: Path) -> None:
    rules = [{"record": f"runbook:{number}", "expr": text} for number, text in enumerate(expressions())]
    file = tmp_path / "expressions.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "runbooks", "rules": rules}]}))
    checked = subprocess.run(  # noqa: S603 - our own expressions
        ["promtool", "check", "rules", str(file)],  # noqa: S607 - wherever it is installed
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
