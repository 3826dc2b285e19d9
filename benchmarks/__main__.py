"""The commands: `python -m benchmarks --help`."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NoReturn

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import adoption, peer
from benchmarks.driver import Load
from benchmarks.filling import fill
from benchmarks.flood import BOUND, flood, steps
from benchmarks.flood import WALLETS as FLOODED_WALLETS
from benchmarks.hostile import TELL_SECONDS, hostile
from benchmarks.machine import circumstances
from benchmarks.measuring import driving, next_window, target
from benchmarks.micro import micro
from benchmarks.plots import plot_pairs, plot_results, plot_soak
from benchmarks.report import bounds, markdown, scale_bounds, scale_table
from benchmarks.rig import KEYS, rig
from benchmarks.scenarios import SCENARIOS
from benchmarks.situations import COLD, REQUESTS, all_situations, measure_all, measure_cold, situations_table
from benchmarks.soak import soak, windows
from benchmarks.suite import FULL, QUICK, Tell, run, run_scale

_UNITS = {"s": 1, "m": 60, "h": 3600}
_RESULTS = Path(__file__).parent / "results"

_into = click.option(
    "--into",
    type=click.Path(path_type=Path, file_okay=False),
    default=_RESULTS,
    show_default="benchmarks/results",
    help="Folder for the results.",
)


class Duration(click.ParamType[float]):
    """Seconds, written as `90s`, `30m` or `2h`."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The seconds, or a usage error."""
        text = str(value)
        if not (text[:-1].isdigit() and text[-1] in _UNITS):
            self.fail("must look like 90s, 30m or 2h", param, ctx)
        return float(text[:-1]) * _UNITS[text[-1]]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Measure kms-service on this machine, with PostgreSQL and a KMS stand-in of its own.

    Nothing is left behind, even after Ctrl-C.
    """
    signal.signal(signal.SIGTERM, _end)


@main.command("run")
@click.option("--quick", is_flag=True, help="Two minutes, to see that it works; the figures are rough.")
@click.option(
    "--scale", type=int, multiple=True, help="Wallets of a large table; repeatable.  [default: 1000000]"
)
@click.option("--latency-ms", type=float, default=FULL.latency_ms, show_default=True, help="Of KMS.")
@_into
def run_all(*, quick: bool, scale: tuple[int, ...], latency_ms: float, into: Path) -> None:
    """Measure everything: results.json, results.md and results.svg."""
    plan = replace(QUICK if quick else FULL, latency_ms=latency_ms)
    plan = replace(plan, scale=scale or plan.scale)
    at = circumstances()
    with _progress(plan.steps) as tell, rig(plan.latency_ms) as machine:
        found = run(machine, plan, tell)
        tell("the work itself")
        results = {"circumstances": at, "plan": asdict(plan), **found, "micro": micro(0.3 if quick else 1.0)}
    _write(into / "results.json", results)
    (into / "results.md").write_text(markdown(results))
    plot_results(results, into / "results.svg")
    _tell_bounds(bounds(results))
    click.echo(f"{into}/results.json, results.md, results.svg")


@main.command("scale")
@click.option("--wallets", type=int, multiple=True, required=True, help="Of a large table; repeatable.")
@click.option("--rounds", type=int, default=FULL.rounds, show_default=True, help="Of each request.")
@_into
def scale_only(*, wallets: tuple[int, ...], rounds: int, into: Path) -> None:
    """Compare large tables with a small one: scale.json. Ten million wallets need 10 GB and half an hour."""
    plan = replace(FULL, scale=wallets, rounds=rounds)
    at = circumstances()
    with _progress(plan.steps_of_scale) as tell, rig(plan.latency_ms) as machine:
        compared = run_scale(machine, plan, tell)
    _write(into / "scale.json", {"circumstances": at, "plan": asdict(plan), "scale": compared})
    click.echo(scale_table(compared))
    _tell_bounds(scale_bounds(compared))


@main.command("against")
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--pairs", type=click.IntRange(1), default=3, show_default=True)
@click.option("--latency-ms", type=int, default=5, show_default=True, help="Of KMS.")
@click.option("--callers", type=int, default=32, show_default=True, help="At once; few are always 4.")
@click.option("--seconds", type=int, default=8, show_default=True, help="Of each phase.")
@click.option("--workers", type=int, default=2, show_default=True, help="Of each service.")
@_into
def against(
    folder: Path, *, pairs: int, latency_ms: int, callers: int, seconds: int, workers: int, into: Path
) -> None:
    """Compare this service with another in FOLDER, in alternating pairs: against.json and against.svg.

    FOLDER has bench/bench.sh, which measures both, and node-kms-service, built. Neither is in this project.
    """
    settings = {
        "LATENCY_MS": str(latency_ms),
        "CONNECTIONS": str(callers),
        "DURATION": str(seconds),
        "LAT_DURATION": str(seconds),
        "WORKERS": str(workers),
    }
    at = circumstances()
    with _progress(2 * pairs) as tell:
        found = peer.pairs(folder.resolve(), pairs, settings, tell)
    results = {"circumstances": at, "settings": settings, "compared": peer.compare(found), "pairs": found}
    _write(into / "against.json", results)
    plot_pairs(results, into / "against.svg")
    click.echo(peer.table(found))


@main.command("situations")
@click.option("--latency-ms", type=float, multiple=True, default=(5.0, 50.0, 200.0), show_default=True)
@click.option("--callers", type=int, multiple=True, default=(4, 32, 200), show_default=True)
@click.option("--seconds", type=float, default=FULL.seconds, show_default=True, help="Of each run.")
@click.option("--starts", type=int, default=5, show_default=True, help="Of a cold process, each request.")
@_into
def run_situations(
    *, latency_ms: tuple[float, ...], callers: tuple[int, ...], seconds: float, starts: int, into: Path
) -> None:
    """Measure a slow KMS with few and many callers, old rows, TLS, and a cold process: situations.json."""
    wanted = all_situations(latency_ms, callers)
    at = circumstances()
    with _progress(len(wanted) * len(REQUESTS) + len(COLD)) as tell:
        found = {"runs": measure_all(wanted, seconds, tell), "cold": measure_cold(starts, tell)}
    _write(into / "situations.json", {"circumstances": at, **found})
    click.echo(situations_table(found["runs"]))
    for each in found["cold"]:
        click.echo(
            f"cold: ready after {each['ready_s']} s, first {each['scenario']} in {each['first_ms']} ms"
        )


@main.command("soak")
@click.option("--for", "seconds", type=Duration(), default="30m", show_default=True, help="How long.")
@click.option(
    "--bound", type=float, default=10.0, show_default=True, help="MiB an hour a process may grow by."
)
@click.option("--latency-ms", type=float, default=FULL.latency_ms, show_default=True, help="Of KMS.")
@_into
def run_soak(*, seconds: float, bound: float, latency_ms: float, into: Path) -> None:
    """Run a long load, and watch memory: soak.json and soak.svg.

    Exits 1 when a process grows beyond the bound.
    """
    at = circumstances()
    with _progress(windows(seconds)) as tell, rig(latency_ms) as machine:
        results = {"circumstances": at, "soak": soak(machine, seconds, bound, tell)}
    _write(into / "soak.json", results)
    plot_soak(results, into / "soak.svg")
    for name, rise in results["soak"]["growth_mib_per_hour"].items():
        click.echo(
            f"{'flat' if rise <= bound else 'GROWS'}: {name}, {rise:+.1f} MiB an hour (bound {bound:g})"
        )
    if not results["soak"]["flat"]:
        raise click.exceptions.Exit(1)


@main.command("hostile")
@click.option("--for", "seconds", type=Duration(), default="60s", show_default=True, help="How long.")
@click.option("--connections", type=int, default=200, show_default=True)
@_into
def run_hostile(*, seconds: float, connections: int, into: Path) -> None:
    """Send one worker what anybody can send without a token, and watch its memory: hostile.json.

    Exits 1 when it takes 300 MiB or stops answering.
    """
    at = circumstances()
    with (
        _progress(max(1, int(seconds / TELL_SECONDS))) as tell,
        rig(FULL.latency_ms) as machine,
        machine.installation("hostile").serving(1) as service,
    ):
        found = hostile(service, seconds, connections, tell)
    _write(into / "hostile.json", {"circumstances": at, "hostile": found})
    attacks = sum(found["attacks"].values())
    click.echo(
        f"{'holds' if found['held'] else 'FAILS'}: {attacks} attacks on {connections} connections, "
        f"{found['peak_mib']} MiB at most, {found['before_mib']} before (bound {found['bound_mib']})"
    )
    if not found["held"]:
        raise click.exceptions.Exit(1)


@main.command("adoption")
@click.option("--wallets", type=click.IntRange(1), default=20_000, show_default=True, help="To be adopted.")
@click.option("--here", type=click.IntRange(1), default=1_000_000, show_default=True, help="Adopted before.")
@click.option("--latency-ms", type=float, default=FULL.latency_ms, show_default=True, help="Of KMS.")
@_into
def run_adoption(*, wallets: int, here: int, latency_ms: float, into: Path) -> None:
    """Adopt wallets of the ported service, then pass over many that were adopted before: adoption.json."""
    at = circumstances()
    with _progress(adoption.STEPS) as tell, rig(latency_ms) as machine:
        found = adoption.adoption(machine, wallets, here, tell)
    _write(into / "adoption.json", {"circumstances": at, "adoption": found})
    for what in ("adopted", "passed_over"):
        run = found[what]
        click.echo(
            f"{what.replace('_', ' ')}: {run['rows']:,} rows, {run['rows_a_second']:,} a second, "
            f"{run['cpu_ms_a_row']} ms of CPU each, {run['peak_mib']} MiB at most"
        )


@main.command("flood")
@click.option("--for", "seconds", type=Duration(), default="10s", show_default=True, help="Of each caller.")
@click.option("--connections", type=int, default=16, show_default=True, help="Of the flood.")
@click.option("--rounds", type=int, default=3, show_default=True, help="Alone and under the flood in turn.")
@_into
def run_flood(*, seconds: float, connections: int, rounds: int, into: Path) -> None:
    """Flood one worker with tokens that nobody issued, and time a caller with a valid one: flood.json.

    Exits 1 when the valid caller's p50 more than doubles.
    """
    at = circumstances()
    with _progress(steps(rounds)) as tell, rig(FULL.latency_ms) as machine:
        installation = machine.installation("flood")
        fill(installation.database_url, KEYS, FLOODED_WALLETS)
        with installation.serving(1) as service:
            found = flood(target(service, FLOODED_WALLETS), seconds, connections, rounds, tell)
    _write(into / "flood.json", {"circumstances": at, "flood": found})
    for name, under in found["callers"].items():
        click.echo(
            f"{name}: p50 {under['alone_p50_ms']} ms alone, {under['under_p50_ms']} ms under it, "
            f"{under['ratio']}x (bound {BOUND:g}); it got {under['flood_per_second']} answers a second"
        )
    if not found["held"]:
        raise click.exceptions.Exit(1)


@main.command("micro")
def run_micro() -> None:
    """Time the cryptography and the building of KMS calls, without HTTP, PostgreSQL or KMS; prints JSON."""
    click.echo(json.dumps({"circumstances": circumstances(), "micro": micro(1.0)}, indent=2))


@main.command("profile")
@click.argument("scenario", type=click.Choice(list(SCENARIOS)))
@click.option("--for", "seconds", type=Duration(), default="20s", show_default=True, help="How long.")
@click.option("--connections", type=int, default=8, show_default=True)
@_into
def profile(*, scenario: str, seconds: float, connections: int, into: Path) -> None:
    """See where a scenario's time goes in the service: a flame graph, by py-spy. Needs the right to trace."""
    into.mkdir(parents=True, exist_ok=True)
    picture = into / f"profile-{scenario}.svg"
    with rig(FULL.latency_ms) as machine:
        small = machine.installation("small")
        fill(small.database_url, KEYS, FULL.small)
        with small.serving(1) as service:
            load = Load(scenario, target(service, FULL.small), connections, seconds + 5)
            with driving(load) as driver:
                words = ["--pid", str(service.pid), "--duration", str(int(seconds)), "--output", str(picture)]
                subprocess.run(
                    [_program("py-spy"), "record", "--gil", "--rate", "50", "--subprocesses", *words],
                    check=True,
                )
                next_window(driver, load)
    click.echo(str(picture))


@contextmanager
def _progress(steps: int) -> Iterator[Tell]:
    """A bar on a terminal, else one line per step, on standard error."""
    screen = Console(stderr=True, highlight=False)
    if not screen.is_terminal:
        yield screen.print
        return
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=screen) as bar:
        task = bar.add_task("starting", total=steps, completed=-1)

        def tell(step: str) -> None:
            bar.update(task, description=step, advance=1)

        yield tell


def _tell_bounds(judged: list[tuple[str, bool]]) -> None:
    for what, holds in judged:
        click.echo(f"{'holds' if holds else 'FAILS'}: {what}")


def _write(path: Path, results: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n")


def _program(name: str) -> str:
    return str(Path(sys.executable).parent / name)


def _end(*_: object) -> NoReturn:
    raise SystemExit(128 + signal.SIGTERM)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
