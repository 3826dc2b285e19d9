"""A flood of well-formed tokens that nobody issued, and what it costs a caller with a valid one.

One worker. The valid caller asks alone and under a flood of tokens of each form, in turn and several times,
so that other work on the machine affects both. What counts is the median over the rounds of the ratio of p50.
"""

import statistics
import time
from typing import Any

from benchmarks.driver import Load
from benchmarks.measuring import driving, next_window
from benchmarks.scenarios import Target
from benchmarks.suite import Tell

BOUND = 2.0
FLOODS = ("wrong-token", "wrong-old-token")
CALLERS = ("private-key", "unknown-wallet")
WALLETS = 200
# A flood's first tokens cost the service little, and what it remembers of them expires within two seconds.
_SETTLE_SECONDS = 3.0
# For the valid caller's process to start and warm up under the flood.
_MARGIN_SECONDS = 4.0
_WARM_UP_SECONDS = 1.0
_GOOD_CONNECTIONS = 1


def steps(rounds: int) -> int:
    """How often progress is reported."""
    return rounds * len(CALLERS) * len(FLOODS)


def flood(aim: Target, seconds: float, connections: int, rounds: int, tell: Tell) -> dict[str, Any]:
    """Measure each valid caller's p50 of one worker, alone and under each flood, for `seconds` each.

    Returns:
        `callers`: by caller and flood, p50 alone and under it in milliseconds (medians of the rounds), the
        median of their ratios, and how many answers per second the flood got; `held`, whether all ratios are
        within the bound.
    """
    callers = {
        f"{name} under {kind}": _measure_one(aim, name, kind, seconds, connections, rounds, tell)
        for name in CALLERS
        for kind in FLOODS
    }
    worst = max(found["ratio"] for found in callers.values())
    return {
        "seconds": seconds,
        "connections": connections,
        "rounds": rounds,
        "callers": callers,
        "worst_ratio": worst,
        "bound": BOUND,
        "held": worst <= BOUND,
    }


def _measure_one(
    aim: Target, name: str, kind: str, seconds: float, connections: int, rounds: int, tell: Tell
) -> dict[str, Any]:
    good = Load(name, aim, _GOOD_CONNECTIONS, seconds, _WARM_UP_SECONDS)
    pairs = []
    for number in range(1, rounds + 1):
        tell(f"{name} under {kind}, round {number} of {rounds}")
        alone = _p50(good)
        under, answers = _measure_under(good, kind, connections)
        pairs.append((alone, under, under / alone, answers))
        time.sleep(_SETTLE_SECONDS)
    medians = [statistics.median(column) for column in zip(*pairs, strict=True)]
    return {
        "alone_p50_ms": round(medians[0], 3),
        "under_p50_ms": round(medians[1], 3),
        "ratio": round(medians[2], 2),
        "ratios": [round(pair[2], 2) for pair in pairs],
        "flood_per_second": round(medians[3], 1),
    }


def _measure_under(good: Load, kind: str, connections: int) -> tuple[float, float]:
    lasts = good.seconds + _MARGIN_SECONDS
    bad = Load(kind, good.target, connections, lasts, warm_up=_SETTLE_SECONDS)
    with driving(bad) as flooding:
        return _p50(good), next_window(flooding, bad)["per_second"]


def _p50(load: Load) -> float:
    with driving(load) as caller:
        p50: float = next_window(caller, load)["p50_ms"]
    return p50
