"""How fast commands process wallets: a rotation's worker, and `kms-service verify`."""

import json
import time
from typing import Any

from benchmarks.filling import fill
from benchmarks.keys import PREFIX
from benchmarks.resources import cpu_seconds
from benchmarks.rig import KEYS, Installation

AT_ONCE = 16  # KMS calls
_FASTEST = 10_000
_SOURCE = f"{PREFIX}-1"


def rates(installation: Installation, wallets: int) -> dict[str, dict[str, Any]]:
    """Wallets per second, of one process."""
    fill(installation.database_url, KEYS, wallets)
    return {
        "re-wrap": _measure_rewrap(installation, wallets),
        "verify": _measure_verify(installation, wallets),
    }


def _measure_rewrap(installation: Installation, wallets: int) -> dict[str, Any]:
    installation.command("pool", "drain", _SOURCE)
    installation.command("rotation", "start", "--from", _SOURCE, "--no-dry-run", "--rate", str(_FASTEST))
    with installation.process("rotation", "run", "--at-once", str(AT_ONCE)) as worker:
        started, first, spent = time.monotonic(), 0, cpu_seconds(worker.pid)
        while (moved := _count_moved(installation)) < wallets:
            if worker.poll() is not None:
                raise SystemExit(f"the rotation's worker ended by itself, {moved} wallets moved")
            if not first and moved:
                started, first, spent = time.monotonic(), moved, cpu_seconds(worker.pid)
            time.sleep(0.05)
        counted = moved - first
        return {
            "wallets": wallets,
            "per_second": round(counted / (time.monotonic() - started)),
            "cpu_ms": round(1000 * (cpu_seconds(worker.pid) - spent) / max(1, counted), 2),
        }


def _count_moved(installation: Installation) -> int:
    return int(installation.query("SELECT done FROM rotations")[0][0])


def _measure_verify(installation: Installation, wallets: int) -> dict[str, Any]:
    started = time.monotonic()
    # It exits 1: no audit row tells of the creation of wallets that were filled in.
    said = json.loads(installation.command("verify", "--json", "--at-once", str(AT_ONCE), check=False))
    if said["opened"] != wallets:
        raise SystemExit(f"verify opened {said['opened']} of {wallets} wallets")
    return {"wallets": wallets, "per_second": round(wallets / (time.monotonic() - started))}
