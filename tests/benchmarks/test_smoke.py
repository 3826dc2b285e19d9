"""The benchmarks run, and fail when what they measure is not what they name."""

import math
import socket
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict, replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import psycopg
import pytest
from benchmarks.driver import Load
from benchmarks.flood import CALLERS, FLOODS, flood
from benchmarks.hostile import ATTACKS, hostile
from benchmarks.measuring import UnexpectedAnswers, measure, target
from benchmarks.rig import Installation, Rig, Service
from benchmarks.scenarios import SCENARIOS, Target

from benchmarks import filling, micro, peer, report, rig, situations, soak, suite

WALLETS = 40
OPENS_EVERY = 10
LATENCY_MS = 50  # so that callers wait most of the time, and a window can be long


@pytest.fixture(scope="module")
def machine() -> Iterator[Rig]:
    with rig.rig(LATENCY_MS) as running:
        yield running


@pytest.fixture(scope="module")
def installation(machine: Rig) -> Installation:
    made = machine.installation("smoke")
    filling.fill(made.database_url, rig.KEYS, WALLETS, OPENS_EVERY)
    return made


@pytest.fixture(scope="module")
def service(installation: Installation) -> Iterator[Service]:
    with installation.serving(1) as running:
        yield running


@pytest.fixture(scope="module")
def aim(service: Service) -> Target:
    return target(service, WALLETS, OPENS_EVERY)


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_gets_the_status_it_names(name: str, aim: Target) -> None:
    call = next(SCENARIOS[name](aim))
    host, _, port = aim.host.partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(call.request)
        answer = connection.recv(64)
    assert answer.startswith(f"HTTP/1.1 {call.status} ".encode())


def test_a_run_reports_rate_latency_cpu_and_memory(machine: Rig, service: Service, aim: Target) -> None:
    found = measure(machine, service, Load("mixed", aim, connections=2, seconds=1.0, warm_up=0.3))
    assert found["requests"] > 0
    assert 0 < found["p50_ms"] <= found["p90_ms"] <= found["p99_ms"] <= found["max_ms"]
    assert set(found["cpu_ms"]) == set(found["memory"]) == {"service", "postgres", "kms", "driver"}
    assert found["cpu_ms"]["service"] > 0
    assert 0 < found["memory"]["service"]["pss_mib"] <= found["memory"]["service"]["rss_mib"]


def test_a_start_is_timed_to_the_first_ready(installation: Installation) -> None:
    told: list[str] = []
    plan = replace(suite.QUICK, workers=(1,), starts=1)
    (found,) = suite.measure_starts(installation, plan, told.append)
    assert 0.1 < found["least_s"] == found["median_s"] < rig.START_SECONDS
    assert told == ["starts: 1 workers"]


def test_an_unexpected_answer_fails_the_run(machine: Rig, service: Service, aim: Target) -> None:
    stranger = replace(aim, token="x" * 43)
    with pytest.raises(UnexpectedAnswers, match="'401'"):
        measure(machine, service, Load("create", stranger, connections=1, seconds=1.0, warm_up=0.1))


def test_every_filled_seed_opens_and_a_wrong_one_is_counted(installation: Installation) -> None:
    assert filling.unsealable(installation.database_url, rig.KEYS) == 0
    with psycopg.connect(installation.database_url) as connection:
        connection.execute(
            "UPDATE wallets SET encrypted_seed = encrypted_seed || '\\x00' WHERE user_id = %s",
            ("user-00000001",),
        )
    assert filling.unsealable(installation.database_url, rig.KEYS) == 1


def test_every_piece_of_the_work_runs() -> None:
    found = micro.micro(seconds=0.001)
    assert all(cost > 0 for cost in found["pieces_us"].values())
    assert set(found["floors_ms"]) - {"private-key, version 1"} <= set(SCENARIOS)


def test_old_rows_are_read_and_all_connections_are_encrypted(
    machine: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(situations, "rig", lambda _latency_ms: nullcontext(machine))
    monkeypatch.setattr(situations, "WALLETS", WALLETS)
    monkeypatch.setattr(situations, "WORKERS", 1)
    monkeypatch.setattr(situations, "WARM_UP_SECONDS", 0.1)
    monkeypatch.setattr(situations, "REQUESTS", ("private-key",))
    situation = situations.Situation(LATENCY_MS, callers=2, envelope=1, tls=True)
    (found,) = situations.measure_all([situation], 3.0, lambda _: None)
    assert found["requests"] > 0
    assert "| 50 ms | 2 | v1 | yes | private-key |" in situations.situations_table([found])


def test_every_situation_is_measured_once() -> None:
    wanted = situations.all_situations((5.0, 200.0), (4, 32))
    assert len(wanted) == len(set(wanted)) == 6
    assert sum(each.tls for each in wanted) == sum(each.envelope == 1 for each in wanted) == 1


@pytest.mark.parametrize("growth", [0.0, 7.0])
def test_growth_is_the_slope_behind_the_first_fifth(growth: float) -> None:
    samples = [
        {"seconds": 36.0 * n, "pss_mib": {"w": 100 + growth * n / 100 + 50 * (n < 20) + math.sin(n) / 9}}
        for n in range(100)
    ]
    assert soak.slope(samples, "w") == pytest.approx(growth, abs=0.2)


def _results(create_cpu: float) -> dict[str, Any]:
    plan = replace(suite.QUICK, workers=(1, 2), connections=(1, 32), scale=(1_000,))
    runs = [
        {
            "workers": workers,
            "scenario": name,
            "connections": connections,
            **dict.fromkeys(("per_second", "p50_ms", "p90_ms", "p99_ms", "cpu_against_livez"), 3.0),
            "cpu_ms": {
                "service": create_cpu if name == "create" else 1.0,
                "postgres": 1,
                "kms": 1,
                "driver": 1,
            },
            "memory": {"service": {"pss_mib": 100.0}},
        }
        for workers in plan.workers
        for connections in plan.connections
        for name in SCENARIOS
    ]
    scale = [
        {"wallets": 1_000, "scenario": name, "p50_ms": 2.0, "p50_ms_small": 2.0}
        | dict.fromkeys(("ratio", "ratio_least", "ratio_most"), 1.0)
        for name in suite.FLAT
    ]
    at = {"date": "2026-01-01", "versions": {}}
    at |= dict.fromkeys(("cpu", "cpus", "memory_gib", "system", "python", "commit", "load_before"), "x")
    return {
        "circumstances": at,
        "plan": asdict(plan),
        "starts": [{"workers": 2, "starts": 7, "least_s": 1.25, "median_s": 1.5}],
        "runs": runs,
        "scale": scale,
        "rates": {"verify": {"wallets": 10, "per_second": 5}},
        "micro": {"pieces_us": {"seal": 1.0}, "floors_ms": {"create": 1.0, "private-key, version 1": 1.0}},
    }


def test_tables_are_held_against_each_other_round_by_round() -> None:
    drifting = {"small": [2.0, 4.0, 8.0], "large": [2.2, 4.0, 8.8]}
    compared = suite.compare(drifting)
    assert (compared["ratio"], compared["ratio_least"], compared["ratio_most"]) == (1.1, 1.0, 1.1)


def test_a_report_has_a_row_for_each_scenario_and_each_bound() -> None:
    text = report.markdown(_results(create_cpu=6.0))
    assert all(text.count(f"| {name} | 3 |") == 2 for name in SCENARIOS)
    assert "| 2 | 7 | 1.25 | 1.5 |" in text
    assert "**fails**" not in text
    assert report.markdown(_results(create_cpu=4.0)).count("**fails**") == 4


def _side(share: float) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for part, key in peer.RATIOS.values():
        found.setdefault(part, {})[key] = share
    return found


@pytest.fixture
def plots() -> ModuleType:
    """Imported here, since matplotlib takes each process that collects the tests 0.3 s."""
    return import_module("benchmarks.plots")


def test_pairs_are_compared_pair_by_pair_and_drawn(plots: ModuleType, tmp_path: Path) -> None:
    pairs = [{peer.OURS: _side(ours), peer.THEIRS: _side(2.0)} for ours in (1.0, 3.0, 8.0)]
    held = peer.compare(pairs)
    assert held.keys() == peer.RATIOS.keys()
    assert held["memory"] == {"median": 1.5, "least": 0.5, "most": 4.0}
    assert "| memory | 1.50 | 0.50 to 4.00 |" in peer.table(pairs)
    at = {"commit": "x", "date": "2026-01-01", "cpus": 2}
    settings = {"CONNECTIONS": "32", "LATENCY_MS": "5"}
    drawn = {"circumstances": at, "settings": settings, "compared": held, "pairs": pairs}
    plots.plot_pairs(drawn, tmp_path / "against.svg")
    assert "CPU of a private key" in (tmp_path / "against.svg").read_text()


def test_results_and_a_soak_are_drawn(plots: ModuleType, tmp_path: Path) -> None:
    plots.plot_results(_results(create_cpu=6.0), tmp_path / "results.svg")
    sample = {"seconds": 1.0, "pss_mib": {"parent": 100.0}, "per_second": 5.0, "p99_ms": 9.0}
    drawn: dict[str, Any] = {"circumstances": {"commit": "x", "date": "x", "cpu": "x"}}
    drawn |= {"soak": {"samples": [sample, sample], "growth_mib_per_hour": {"parent": 1.5}}}
    plots.plot_soak(drawn, tmp_path / "soak.svg")
    assert "listing-middle" in (tmp_path / "results.svg").read_text()
    assert "parent: +1.5 MiB an hour" in (tmp_path / "soak.svg").read_text()


def test_callers_without_a_token_take_no_memory_of_note(service: Service) -> None:
    found = hostile(service, 1.0, 60, lambda _: None)
    assert found["held"]
    assert found["before_mib"] <= found["peak_mib"]
    assert len(found["attacks"]) > len(ATTACKS) / 2


def test_a_flood_is_answered_and_a_good_caller_timed_beside_it(
    aim: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What it measures here is of no use; that it measures is, and of one caller as well as of two.
    monkeypatch.setattr("benchmarks.flood._SETTLE_SECONDS", 0.5)
    monkeypatch.setattr("benchmarks.flood._MARGIN_SECONDS", 1.5)
    monkeypatch.setattr("benchmarks.flood._WARM_UP_SECONDS", 0.1)
    monkeypatch.setattr("benchmarks.flood.CALLERS", CALLERS[:1])
    told: list[str] = []
    found = flood(aim, 2.0, 4, 1, told.append)
    assert len(found["callers"]) == len(told) == len(FLOODS)
    for measured in found["callers"].values():
        assert measured["flood_per_second"] > 0
        assert measured["ratios"] == [measured["ratio"]]
    assert found["held"] is (found["worst_ratio"] <= found["bound"])
