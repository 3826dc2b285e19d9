"""Results as Markdown, with where and when they were measured, and the bounds that should hold."""

from collections.abc import Iterable, Sequence
from typing import Any

Results = dict[str, Any]

_FLAT = 1.1
_PAGES = 2.0
_CHEAP = 5.0
_REFUSALS = ("duplicate", "unknown-wallet", "unknown-user", "unauthorised")


def markdown(results: Results) -> str:
    """Everything in `results`."""
    parts = [_circumstances(results), "### Start", _starts(results)]
    for workers in results["plan"]["workers"]:
        parts += [f"### Requests, {workers} worker{'s' * (workers > 1)}", _requests(results, workers)]
    parts += ["### Scale", scale_table(results["scale"]), "### Commands", _rates(results)]
    parts += ["### The work itself", _micro(results), "### What should hold"]
    parts += ["\n".join(f"- {'holds' if holds else '**fails**'}: {what}" for what, holds in bounds(results))]
    return "\n\n".join(parts) + "\n"


def bounds(results: Results) -> list[tuple[str, bool]]:
    """Bounds on ratios within the run, and whether each holds."""
    judged = scale_bounds(results["scale"])
    widest = _widest(results)
    create = _find(widest, scenario="create")["cpu_ms"]["service"]
    for name in _REFUSALS:
        ratio = create / _find(widest, scenario=name)["cpu_ms"]["service"]
        judged.append(
            (
                f"service CPU of create is {ratio:.1f} times that of {name} (at least {_CHEAP:g})",
                ratio >= _CHEAP,
            )
        )
    return judged


def scale_bounds(compared: Sequence[Results]) -> list[tuple[str, bool]]:
    """Bounds on the cost of a larger table, and whether each holds."""
    judged = [
        _at_most(f"p50 of {_at_scale(each)} against the small table", each["ratio"], _FLAT)
        for each in compared
        if each["scenario"] in {"create", "private-key"}
    ]
    for each in compared:
        if each["scenario"] in {"listing-middle", "listing-last"}:
            first = _find(compared, scenario="listing-first", wallets=each["wallets"])["p50_ms"]
            judged.append(
                _at_most(f"p50 of {_at_scale(each)} against the first", each["p50_ms"] / first, _PAGES)
            )
    return judged


def _at_most(what: str, ratio: float, bound: float) -> tuple[str, bool]:
    return f"{what}: {ratio:.2f} (at most {bound:g})", ratio <= bound


def _at_scale(each: Results) -> str:
    return f"{each['scenario']} at {each['wallets']:,} wallets"


def _circumstances(results: Results) -> str:
    at, plan = results["circumstances"], results["plan"]
    versions = ", ".join(f"{name} {version}" for name, version in at["versions"].items())
    return (
        f"{at['date']}, {at['cpu']} ({at['cpus']} CPUs, {at['memory_gib']} GiB, {at['system']}), "
        f"Python {at['python']}, {versions}, commit {at['commit']}. Everything ran on this machine: service, "
        f"PostgreSQL (fsync and synchronous commits on), KMS stand-in (+{plan['latency_ms']:g} ms a call), "
        f"load; load average before: {at['load_before']}. Runs of {plan['seconds']:g} s. Compare ratios, not "
        "figures of other machines."
    )


def _starts(results: Results) -> str:
    rows = [
        [str(each[key]) for key in ("workers", "starts", "least_s", "median_s")] for each in results["starts"]
    ]
    return _table(["workers", "starts", "least s from command to ready", "median s"], rows)


def _requests(results: Results, workers: int) -> str:
    runs = [run for run in results["runs"] if run["workers"] == workers]
    widths = list(dict.fromkeys(run["connections"] for run in runs))
    head = ["scenario"]
    head += [f"{what}, {width} at once" for width in widths for what in ("requests/s", "p50 / p90 / p99 ms")]
    head += ["CPU ms a request: service", "PostgreSQL", "KMS", "load", "service CPU / livez", "service MiB"]
    rows = []
    for scenario in dict.fromkeys(run["scenario"] for run in runs):
        found = [_find(runs, scenario=scenario, connections=width) for width in widths]
        row = [scenario]
        for run in found:
            row += [f"{run['per_second']:,.0f}", " / ".join(f"{run[f'p{n}_ms']:.1f}" for n in (50, 90, 99))]
        cpu, memory = found[-1]["cpu_ms"], found[-1]["memory"]["service"]
        row += [f"{cpu[group]:.2f}" for group in ("service", "postgres", "kms", "driver")]
        rows.append([*row, f"{found[-1]['cpu_against_livez']:.1f}", f"{memory['pss_mib']:.0f}"])
    note = f"CPU and memory (PSS, parent and workers, peak) at {widths[-1]} connections."
    return f"{_table(head, rows)}\n\n{note}"


def scale_table(compared: Sequence[Results]) -> str:
    """The large tables compared with the small one."""
    head = [
        "wallets",
        "scenario",
        "p50 ms",
        "p50 ms, small table",
        "ratio (median of rounds)",
        "least to most",
    ]
    rows = [
        [
            f"{each['wallets']:,}",
            *[str(each[key]) for key in ("scenario", "p50_ms", "p50_ms_small", "ratio")],
            f"{each['ratio_least']} to {each['ratio_most']}",
        ]
        for each in compared
    ]
    return _table(head, rows)


def _rates(results: Results) -> str:
    rows = [
        [name, f"{each['wallets']:,}", f"{each['per_second']:,}", str(each.get("cpu_ms", ""))]
        for name, each in results["rates"].items()
    ]
    return _table(["one process, 16 KMS calls at once", "wallets", "wallets/s", "CPU ms a wallet"], rows)


def _micro(results: Results) -> str:
    pieces = [[name, f"{cost:,.1f}"] for name, cost in results["micro"]["pieces_us"].items()]
    widest = _widest(results)
    floors = []
    for scenario, floor in results["micro"]["floors_ms"].items():
        # Some scenarios have a floor and no run: wallets of version 1.
        for run in (run for run in widest if run["scenario"] == scenario):
            spent = run["cpu_ms"]["service"]
            floors.append([scenario, f"{floor:.2f}", f"{spent:.2f}", f"{spent / floor:.1f}"])
    return "\n\n".join(
        (
            _table(["piece", "CPU µs"], pieces),
            _table(["scenario", "cryptography alone, CPU ms", "service CPU ms", "ratio"], floors),
        )
    )


def _widest(results: Results) -> list[Results]:
    plan = results["plan"]
    workers, connections = max(plan["workers"]), max(plan["connections"])
    return [run for run in results["runs"] if (run["workers"], run["connections"]) == (workers, connections)]


def _find(runs: Iterable[Results], **wanted: object) -> Results:
    return next(run for run in runs if wanted.items() <= {key: run.get(key) for key in wanted}.items())


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
