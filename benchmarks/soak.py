"""Long load, and whether memory grows under it: each process of the service is sampled.

A line is fitted to each process's samples; the soak fails if it rises by more than the bound. The first fifth
does not count, since pools and caches fill.
"""

import statistics
import time
from typing import Any

import psutil

from benchmarks.driver import Load
from benchmarks.filling import fill
from benchmarks.measuring import driving, next_window, target
from benchmarks.resources import memory, tree
from benchmarks.rig import KEYS, Rig, Service
from benchmarks.suite import Tell

CONNECTIONS = 8
WORKERS = 2
MOST_WINDOWS = 60
_FEWEST_WINDOWS = 5
_SHORTEST_WINDOW = 5.0
_WALLETS = 1_000
_LEFT_OUT = 0.2
_MIB = 2**20
_HOUR = 3600.0


def soak(rig: Rig, seconds: float, bound: float, tell: Tell) -> dict[str, Any]:
    """Run mixed load for `seconds`; return the memory of each process and latencies over time.

    Args:
        rig: a fresh one.
        seconds: how long.
        bound: MiB per hour that a process may grow.
        tell: called at each window.

    Returns:
        `samples`, one per window; `growth_mib_per_hour` by process; `flat`, whether all are within the bound.
    """
    installation = rig.installation("soak")
    fill(installation.database_url, KEYS, _WALLETS)
    with installation.serving(WORKERS) as service:
        count = windows(seconds)
        aim = target(service, _WALLETS)
        load = Load("mixed", aim, CONNECTIONS, seconds / count, warm_up=2.0, windows=count)
        samples = _samples(service, load, tell)
    growth = {name: round(slope(samples, name), 1) for name in samples[0]["pss_mib"]}
    return {
        "seconds": seconds,
        "bound_mib_per_hour": bound,
        "samples": samples,
        "growth_mib_per_hour": growth,
        "flat": all(rise <= bound for rise in growth.values()),
    }


def windows(seconds: float) -> int:
    """The number of samples taken in this time."""
    return max(_FEWEST_WINDOWS, min(MOST_WINDOWS, int(seconds / _SHORTEST_WINDOW)))


def slope(samples: list[dict[str, Any]], name: str) -> float:
    """MiB per hour that a process grows by: least squares over the samples after the first fifth."""
    counted = samples[int(len(samples) * _LEFT_OUT) :]
    times = [sample["seconds"] for sample in counted]
    return _HOUR * statistics.linear_regression(times, [sample["pss_mib"][name] for sample in counted]).slope


def _samples(service: Service, load: Load, tell: Tell) -> list[dict[str, Any]]:
    processes = tree(service.pid)
    names = {process.pid: _name(process, number) for number, process in enumerate(processes)}
    started = time.monotonic()
    samples = []
    with driving(load) as driver:
        for number in range(load.windows):
            window = next_window(driver, load)
            held = {names[process.pid]: round(memory(process).pss / _MIB, 2) for process in processes}
            tell(f"{window['per_second']:.0f} requests/s, {sum(held.values()):.1f} MiB")
            sample = {"seconds": round(time.monotonic() - started, 1), "pss_mib": held, **window}
            samples.append(sample)
            if not all(process.is_running() for process in processes):
                raise SystemExit(f"a process of the service ended by itself in window {number + 1}")
    return samples


def _name(process: psutil.Process, number: int) -> str:
    if number == 0:
        return "parent"
    return f"worker (pid {process.pid})"
