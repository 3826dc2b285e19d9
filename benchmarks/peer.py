"""Compares this service with another that has its two wallet routes, in alternating pairs on one machine.

The other service, its load generator and its KMS stand-in are in a folder outside this project: anybody who
has the service that this one ports can compare the two. There, `bench/bench.sh` starts PostgreSQL, the
stand-in and one service, drives creates and private-key reads with many callers and with few, and prints a
line of JSON. It measures both sides, so that nothing else differs.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.rig import ROOT

Found = dict[str, Any]

OURS = "kms-service"
THEIRS = "the other service"
# What is compared: its name, and the path into bench.sh's line.
RATIOS: Mapping[str, tuple[str, str]] = {
    "creates a second": ("create", "rps"),
    "private keys a second": ("private_key", "rps"),
    "CPU of a create": ("create", "service_cpu_ms_per_req"),
    "CPU of a private key": ("private_key", "service_cpu_ms_per_req"),
    "p99 of a create": ("create", "p99_ms"),
    "p99 of a private key": ("private_key", "p99_ms"),
    "p50 of a create, few callers": ("create_latency", "p50_ms"),
    "p50 of a private key, few callers": ("private_key_latency", "p50_ms"),
    "memory": ("memory_loaded", "rss_mb"),
}


def pairs(folder: Path, count: int, settings: Mapping[str, str], tell: Callable[[str], None]) -> list[Found]:
    """Measure both services `count` times; which goes first alternates.

    Args:
        folder: the other service's, as described above.
        count: the number of pairs.
        settings: bench.sh's own, such as LATENCY_MS, CONNECTIONS, DURATION and WORKERS.
        tell: called as each run begins.

    Raises:
        SystemExit: a run failed.
    """
    sides = {OURS: _ours(), THEIRS: ({}, ["node", "node-kms-service/dist/main.js"])}
    found = []
    with tempfile.TemporaryDirectory(prefix="kms-service-benchmark-") as data:
        for number in range(count):
            pair = {}
            for name in sorted(sides, reverse=bool(number % 2)):
                tell(f"pair {number + 1}: {name}")
                environment, command = sides[name]
                # Both must be able to write to it: as root, bench.sh runs PostgreSQL as another user.
                Path(data).chmod(0o777)
                ours = {**settings, **environment, "LABEL": name, "PGDATA": f"{data}/postgres"}
                pair[name] = _measure(folder, ours, command)
            found.append(pair)
    return found


def compare(found: Sequence[Found]) -> dict[str, dict[str, float]]:
    """Our figure divided by theirs, for each of `RATIOS`: median, minimum and maximum over the pairs."""
    held = {}
    for name, (part, key) in RATIOS.items():
        ratios = [pair[OURS][part][key] / pair[THEIRS][part][key] for pair in found]
        held[name] = {
            "median": round(statistics.median(ratios), 3),
            "least": round(min(ratios), 3),
            "most": round(max(ratios), 3),
        }
    return held


def table(found: Sequence[Found]) -> str:
    """The ratios as Markdown."""
    lines = ["| ours / theirs | median | least to most |", "| --- | ---: | ---: |"]
    for name, ratio in compare(found).items():
        lines.append(f"| {name} | {ratio['median']:.2f} | {ratio['least']:.2f} to {ratio['most']:.2f} |")
    return "\n".join(lines)


def _ours() -> tuple[dict[str, str], list[str]]:
    """The environment for bench.sh, and the command of this service."""
    command = f"{sys.executable} -m kms_service"
    scopes = "--scope wallets:create --scope private-keys:read"
    token = f"{command} token create bench {scopes} --json"
    environment = {
        "SCHEMA_SQL": "",
        "HEALTH_PATH": "/livez",
        "PRIVATE_KEY_PATH": "/wallets/{id}/private-key",
        "SETUP_COMMAND": f"{command} migrate",
        "AUTH_COMMAND": f"{token} | jq -r '\"Authorization: Bearer \" + .token'",
        "PYTHONPATH": str(ROOT / "src"),
        "LOG_FORMAT": "json",
    }
    return environment, [*command.split(), "serve"]


def _measure(folder: Path, environment: Mapping[str, str], command: Sequence[str]) -> Found:
    done = subprocess.run(
        [folder / "bench" / "bench.sh", *command],
        cwd=folder,
        env={**os.environ, **environment},
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise SystemExit(f"{environment['LABEL']} was not measured\n{done.stderr}")
    line: Found = json.loads(done.stdout.splitlines()[-1])
    return line
