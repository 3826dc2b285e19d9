"""The container files, as far as they can be checked without an engine."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
DOCKERFILE = (ROOT / "Dockerfile").read_text()


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_every_container_is_hardened(name: str) -> None:
    service = COMPOSE["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service.get("privileged") is None
    assert service["pids_limit"] == 256


@pytest.mark.parametrize("name", ["kms-service", "kms", "postgres"])
def test_every_long_running_container_has_a_health_check(name: str) -> None:
    assert COMPOSE["services"][name]["healthcheck"]["test"][0] == "CMD"


def test_ports_are_published_on_this_machine_only() -> None:
    ports = [port for service in COMPOSE["services"].values() for port in service.get("ports", [])]
    assert ports == ["127.0.0.1:3001:3001"]


def test_only_the_service_reaches_outside() -> None:
    reached = {name for name, service in COMPOSE["services"].items() if "outside" in service["networks"]}
    assert reached == {"kms-service"}
    assert COMPOSE["networks"]["inside"] == {"internal": True}


def test_the_stand_in_takes_the_arguments_that_its_image_gives(tmp_path: Path) -> None:
    stage = DOCKERFILE.split(" AS kms-stand-in")[1].split("\nFROM ")[0]
    given = [json.loads(found) for found in re.findall(r"^(?:ENTRYPOINT|CMD) (.*)$", stage, re.MULTILINE)]
    # Given twice, the last one counts.
    here = ["--keys", str(tmp_path / "keys.json"), "--host", "127.0.0.1", "--port", "0"]
    entry = [part for part in given[0][1:] if part != "-I"]  # here the package may come by PYTHONPATH
    command = [sys.executable, *entry, *given[1], *here]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own program
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        try:
            assert httpx.get(f"{url}/livez").text == "ok"
        finally:
            process.terminate()
    assert process.returncode == 0


def test_the_database_password_has_no_default() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    values = [line for line in text.splitlines() if "POSTGRES_PASSWORD" in line and not line.startswith("#")]
    assert values
    assert all("${POSTGRES_PASSWORD:?" in line for line in values)


def test_jobs_come_before_the_service() -> None:
    conditions = COMPOSE["services"]["kms-service"]["depends_on"]
    assert {name: entry["condition"] for name, entry in conditions.items()} == {
        "migrate": "service_completed_successfully",
        "aliases": "service_completed_successfully",
    }


def test_every_image_of_the_dockerfile_names_its_version() -> None:
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert bases == ["${BASE}", "build", "${BASE}", "${BASE}"]
    (base,) = re.findall(r"^ARG BASE=(\S+)$", DOCKERFILE, re.MULTILINE)
    assert re.fullmatch(r"python:3\.13-slim-trixie(@sha256:[0-9a-f]{64})?", base)


def test_no_stage_that_runs_is_root() -> None:
    stages = DOCKERFILE.split("\nFROM ")
    for stage in stages[3:]:
        assert re.findall(r"^USER (\S+)", stage, re.MULTILINE) == ["10001:10001"]


def test_packages_are_installed_with_hashes_only() -> None:
    installs = re.findall(r"pip install ([^\n&]*)", DOCKERFILE)
    assert installs
    assert all("--require-hashes" in line or "--no-index" in line for line in installs)


def test_the_image_is_built_from_the_serving_lock_or_the_one_with_tracing() -> None:
    assert re.findall(r"^ARG LOCK=(\S+)$", DOCKERFILE, re.MULTILINE) == ["serve"]
    (choices,) = re.findall(r"^# Or (\w+): .*\nARG LOCK", DOCKERFILE, re.MULTILINE)
    assert all((ROOT / "locks" / f"{name}.txt").is_file() for name in ("serve", choices))


def test_the_build_context_is_an_allow_list() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == "*"
    assert not {"!.env", "!.git", "!.local"} & set(lines)


@pytest.mark.parametrize("stage", ["service", "kms-stand-in"])
def test_a_released_image_names_its_commit(stage: str) -> None:
    text = DOCKERFILE.split(f" AS {stage}\n")[1].split("\nFROM ")[0]
    labels = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="([^"]+)"', text))
    for argument in ("VERSION", "REVISION", "CREATED", "SOURCE"):
        assert labels[argument.lower()] == f"${{{argument}}}"
        assert f"\nARG {argument}=" in text
