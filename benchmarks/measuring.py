"""One run: a load on a service, and its cost in each group of processes."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.driver import Load
from benchmarks.resources import Watch
from benchmarks.rig import Process, Rig, Service, running
from benchmarks.scenarios import Target

Run = dict[str, Any]


class UnexpectedAnswers(SystemExit):
    """Some answers were not the scenario's, so nothing was measured."""


def target(service: Service, wallets: int, opens_every: int = 1) -> Target:
    """The service, as a driver reaches it."""
    return Target(service.url.removeprefix("http://"), service.token, wallets, opens_every)


def measure(rig: Rig, service: Service, load: Load) -> Run:
    """Measure one window: rate, latencies, CPU milliseconds per request and peak memory by group.

    Raises:
        UnexpectedAnswers: an answer had the wrong status, or there was none.
    """
    with driving(load) as driver:
        groups = {
            "service": service.pid,
            "postgres": rig.postgres.pid,
            "kms": rig.kms_pid,
            "driver": driver.pid,
        }
        with Watch(groups).watching() as watch:
            window = next_window(driver, load)
    requests = window.pop("requests")
    return {
        "scenario": load.scenario,
        "connections": load.connections,
        "requests": requests,
        **window,
        "cpu_ms": {name: round(1000 * spent / max(1, requests), 3) for name, spent in watch.cpu.items()},
        "memory": {name: peak.mib() for name, peak in watch.peak.items()},
    }


@contextmanager
def driving(load: Load) -> Iterator[Process]:
    """The driver's process, after its warm-up."""
    with running("benchmarks.driver", load.to_json(), stdout=subprocess.PIPE) as driver:
        _line(driver, load)  # begin
        yield driver


def next_window(driver: Process, load: Load) -> Run:
    """Wait for a window, and return its summary.

    Raises:
        UnexpectedAnswers: an answer had the wrong status, or there was none.
    """
    window: Run = json.loads(_line(driver, load))
    unexpected = window.pop("unexpected")
    if unexpected or not window["requests"]:
        raise UnexpectedAnswers(f"{load.scenario}: {window['requests']} answers, unexpected: {unexpected}")
    return window


def _line(driver: Process, load: Load) -> bytes:
    assert driver.stdout is not None
    line = driver.stdout.readline()
    if not line:
        raise UnexpectedAnswers(f"{load.scenario}: the driver ended by itself")
    return line
