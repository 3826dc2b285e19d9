"""The whole measurement: every scenario at every width, flatness at scale, the operators' commands."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.driver import Load
from benchmarks.filling import fill
from benchmarks.measuring import Run, measure, target
from benchmarks.rates import rates
from benchmarks.rig import KEYS, Installation, Rig
from benchmarks.scenarios import BASELINE, SCENARIOS

FLAT = ("create", "private-key", "listing-first", "listing-middle", "listing-last")
FLAT_CONNECTIONS = 4
OPENS_EVERY = 100  # in large tables, where deriving every address would take longer than everything else

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured.

    Attributes:
        seconds: of each run, after `warm_up` seconds that do not count.
        workers: numbers of worker processes.
        connections: numbers of callers at once.
        small: wallets in the table that stands for an empty one; they are the ones read.
        scale: sizes of the tables that are compared with it.
        rounds: of each scenario at scale, alternating with the small table.
        round_seconds: of each round, on either table, after half of `warm_up`.
        starts: of the service, for each number of workers.
        moved: wallets that are re-wrapped and verified.
        latency_ms: of every KMS call.
    """

    seconds: float
    warm_up: float
    workers: tuple[int, ...]
    connections: tuple[int, ...]
    small: int
    scale: tuple[int, ...]
    rounds: int
    round_seconds: float
    starts: int
    moved: int
    latency_ms: float

    @property
    def steps(self) -> int:
        """How often progress is reported."""
        widths = len(self.workers) * len(self.connections)
        return 1 + len(self.workers) + widths * len(SCENARIOS) + self.steps_of_scale

    @property
    def steps_of_scale(self) -> int:
        """The same for the comparison of tables only."""
        return 1 + len(self.scale) * (1 + self.rounds * len(FLAT))


FULL = Plan(4.0, 1.0, (1, 2), (1, 4, 32), 1_000, (1_000_000,), 9, 2.0, 7, 3_000, 5.0)
QUICK = Plan(1.0, 0.5, (2,), (4, 32), 500, (50_000,), 1, 1.0, 2, 500, 5.0)


def run(rig: Rig, plan: Plan, tell: Tell) -> dict[str, Any]:
    """Measure all of a plan, and report each step as it begins."""
    small = _fill_small(rig, plan, tell)
    started = measure_starts(small, plan, tell)
    runs = matrix(rig, small, plan, tell)
    scale = flatness(rig, small, plan, tell)
    tell(f"re-wrapping and verifying {plan.moved:,} wallets")
    moved = rates(rig.installation("rates"), plan.moved)
    return {"starts": started, "runs": runs, "scale": scale, "rates": moved}


def run_scale(rig: Rig, plan: Plan, tell: Tell) -> list[dict[str, Any]]:
    """Measure only the comparison of tables."""
    return flatness(rig, _fill_small(rig, plan, tell), plan, tell)


def _fill_small(rig: Rig, plan: Plan, tell: Tell) -> Installation:
    tell(f"filling {plan.small:,} wallets")
    small = rig.installation("small")
    fill(small.database_url, KEYS, plan.small)
    return small


def measure_starts(small: Installation, plan: Plan, tell: Tell) -> list[dict[str, Any]]:
    """Seconds from the command to ready, by workers: the minimum and the median of several starts."""
    found = []
    for workers in plan.workers:
        tell(f"starts: {workers} workers")
        seconds = []
        for _ in range(plan.starts):
            with small.serving(workers) as service:
                seconds.append(service.ready_after)
        least, median = round(min(seconds), 2), round(statistics.median(seconds), 2)
        found.append({"workers": workers, "starts": plan.starts, "least_s": least, "median_s": median})
    return found


def matrix(rig: Rig, small: Installation, plan: Plan, tell: Tell) -> list[Run]:
    """Every scenario by workers and connections, each compared with `GET /livez` under the same load."""
    runs = []
    for workers in plan.workers:
        with small.serving(workers) as service:
            for connections in plan.connections:
                base: Run = {}
                for scenario in SCENARIOS:
                    tell(f"{scenario}: {workers} workers, {connections} connections")
                    aim = target(service, plan.small)
                    found = measure(
                        rig, service, Load(scenario, aim, connections, plan.seconds, plan.warm_up)
                    )
                    base = found if scenario == BASELINE else base
                    cost = found["cpu_ms"]["service"] / max(1e-3, base["cpu_ms"]["service"])
                    runs.append({"workers": workers, **found, "cpu_against_livez": round(cost, 1)})
    return runs


def flatness(rig: Rig, small: Installation, plan: Plan, tell: Tell) -> list[dict[str, Any]]:
    """Each scenario on the small and each large table in turn: medians of the rounds and of their ratios."""
    return [each for wallets in plan.scale for each in _compare_with_small(rig, small, wallets, plan, tell)]


def _compare_with_small(
    rig: Rig, small: Installation, wallets: int, plan: Plan, tell: Tell
) -> list[dict[str, Any]]:
    tell(f"filling {wallets:,} wallets")
    large = rig.installation(f"wallets_{wallets}")
    fill(large.database_url, KEYS, wallets, OPENS_EVERY)
    workers = max(plan.workers)
    with small.serving(workers) as near, large.serving(workers) as far:
        sides = {
            "small": (near, target(near, plan.small)),
            "large": (far, target(far, wallets, OPENS_EVERY)),
        }
        found = []
        for scenario in FLAT:
            times: dict[str, list[float]] = {name: [] for name in sides}
            for number in range(plan.rounds):
                tell(f"{scenario}: {wallets:,} wallets, round {number + 1}")
                # Which goes first alternates, so that a drift of the machine affects both.
                for name in sorted(sides, reverse=bool(number % 2)):
                    service, aim = sides[name]
                    load = Load(scenario, aim, FLAT_CONNECTIONS, plan.round_seconds, plan.warm_up / 2)
                    times[name].append(measure(rig, service, load)["p50_ms"])
            found.append({"wallets": wallets, "scenario": scenario, **compare(times)})
    return found


def compare(times: dict[str, list[float]]) -> dict[str, float]:
    """Medians of the rounds on the `small` and the `large` table, and median and range of their ratios."""
    # The two of a round are seconds apart, so a drift of the machine's speed hardly changes their ratio.
    ratios = [large / small for small, large in zip(times["small"], times["large"], strict=True)]
    return {
        "p50_ms_small": round(statistics.median(times["small"]), 2),
        "p50_ms": round(statistics.median(times["large"]), 2),
        "ratio": round(statistics.median(ratios), 2),
        "ratio_least": round(min(ratios), 2),
        "ratio_most": round(max(ratios), 2),
    }
