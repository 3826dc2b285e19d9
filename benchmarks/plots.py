"""Results as SVG: for docs/performance.md, and to look at a soak."""

from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib import style
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, ScalarFormatter

from benchmarks.report import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# As text, so that it scales and stays small; without a date, so that the same results make the same file.
_STYLE = {"svg.fonttype": "none", "svg.hashsalt": "kms-service", "font.size": 9, "axes.spines.top": False}
_STYLE |= {"axes.spines.right": False, "font.family": "sans-serif"}
_SECONDS_A_MINUTE = 60


def plot_results(results: Results, path: Path) -> None:
    """Plot requests per second, latencies, CPU by group, and p50 at scale."""
    with style.context(_STYLE):
        figure = Figure(figsize=(11, 7.5), layout="constrained")
        ((rates, times), (cpu, scale)) = figure.subplots(2, 2)
        _rates(rates, results)
        _times(times, results)
        _cpu(cpu, results)
        _scale(scale, results)
        at = results["circumstances"]
        figure.suptitle(f"kms-service {at['commit']}, {at['date'][:10]}, {at['cpu']}, {at['cpus']} CPUs")
        figure.savefig(path, metadata={"Date": None})


def plot_pairs(results: Results, path: Path) -> None:
    """Plot our figures divided by the other service's: the median of the pairs, and the range."""
    held = results["compared"]
    rates = [name for name in held if name.endswith("a second")]
    costs = [name for name in held if name not in rates]
    with style.context(_STYLE):
        figure = Figure(figsize=(9, 4), layout="constrained")
        upper, lower = figure.subplots(2, 1, height_ratios=(len(rates), len(costs)))
        for axes, names, title in (
            (upper, rates, "times the requests of the NestJS service that it ports"),
            (lower, costs, "share of its CPU, time and memory"),
        ):
            for name in reversed(names):
                least, median, most = (held[name][key] for key in ("least", "median", "most"))
                axes.barh(name, median, color="C0", xerr=[[median - least], [most - median]], capsize=4)
                label = {"textcoords": "offset points", "va": "center"}
                axes.annotate(f"{median:.2f}", (most, name), (6, 0), **label)
            axes.axvline(1, color="black", linewidth=0.8)
            axes.set_title(title, loc="left")
        at, settings = results["circumstances"], results["settings"]
        figure.suptitle(
            f"kms-service {at['commit']}, {at['date'][:10]}, {at['cpus']} CPUs; {len(results['pairs'])} "
            f"alternating pairs, {settings['CONNECTIONS']} callers, KMS at {settings['LATENCY_MS']} ms",
            fontsize=9,
        )
        figure.savefig(path, metadata={"Date": None})


def plot_soak(results: Results, path: Path) -> None:
    """Plot the memory of each process, the rate and p99 over time."""
    samples = results["soak"]["samples"]
    minutes = [sample["seconds"] / _SECONDS_A_MINUTE for sample in samples]
    with style.context(_STYLE):
        figure = Figure(figsize=(9, 6), layout="constrained")
        memory, rate, slowest = figure.subplots(3, 1, sharex=True, height_ratios=(2, 1, 1))
        for name in samples[0]["pss_mib"]:
            rise = results["soak"]["growth_mib_per_hour"][name]
            label = f"{name}: {rise:+.1f} MiB an hour"
            memory.plot(minutes, [sample["pss_mib"][name] for sample in samples], label=label)
        memory.legend()
        rate.plot(minutes, [sample["per_second"] for sample in samples])
        slowest.plot(minutes, [sample["p99_ms"] for sample in samples])
        for axes, label in ((memory, "PSS, MiB"), (rate, "requests/s"), (slowest, "p99, ms")):
            axes.set_ylim(bottom=0)
            axes.set_ylabel(label)
        slowest.set_xlabel("minutes")
        at = results["circumstances"]
        figure.suptitle(f"Mixed load, kms-service {at['commit']}, {at['date'][:10]}, {at['cpu']}")
        figure.savefig(path, metadata={"Date": None})


def _rates(axes: "Axes", results: Results) -> None:
    most = max(results["plan"]["connections"])
    names = list(dict.fromkeys(run["scenario"] for run in results["runs"]))
    height = 0.8 / len(results["plan"]["workers"])
    for number, workers in enumerate(results["plan"]["workers"]):
        runs = _runs(results, workers, most)
        places = [names.index(run["scenario"]) + number * height for run in runs]
        axes.barh(places, [run["per_second"] for run in runs], height, label=_workers(workers))
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_title(f"requests a second, {most} connections (logarithmic)")
    axes.legend()


def _times(axes: "Axes", results: Results) -> None:
    workers = max(results["plan"]["workers"])
    widths = results["plan"]["connections"]
    for number, scenario in enumerate(("create", "private-key", "sign")):
        for percentile, line in (("p50_ms", "-"), ("p99_ms", "--")):
            found = [
                run[percentile]
                for width in widths
                for run in _runs(results, workers, width)
                if run["scenario"] == scenario
            ]
            axes.plot(
                widths, found, line, marker="o", color=f"C{number}", label=f"{scenario} {percentile[:3]}"
            )
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.yaxis.set_minor_formatter(ScalarFormatter())
    axes.set_xticks(widths, [str(width) for width in widths])
    axes.set_xlabel("connections")
    axes.set_title(f"milliseconds, {_workers(workers)}")
    axes.legend(ncols=3, fontsize=7, handlelength=4)


def _cpu(axes: "Axes", results: Results) -> None:
    runs = _runs(results, max(results["plan"]["workers"]), max(results["plan"]["connections"]))
    names, left = [run["scenario"] for run in runs], [0.0] * len(runs)
    for group in ("service", "postgres", "kms", "driver"):
        spent = [run["cpu_ms"][group] for run in runs]
        axes.barh(names, spent, left=left, label=group)
        left = [before + more for before, more in zip(left, spent, strict=True)]
    axes.invert_yaxis()
    axes.set_title("CPU milliseconds a request")
    axes.legend()


def _scale(axes: "Axes", results: Results) -> None:
    names = list(dict.fromkeys(each["scenario"] for each in results["scale"]))
    sizes = sorted({each["wallets"] for each in results["scale"]})
    width = 0.8 / (len(sizes) + 1)
    for number, size in enumerate([0, *sizes]):
        key, wanted = ("p50_ms", size) if size else ("p50_ms_small", sizes[0] if sizes else 0)
        found = [each[key] for each in results["scale"] if each["wallets"] == wanted]
        label = f"{size:,} wallets" if size else f"{results['plan']['small']:,} wallets"
        axes.bar([place + number * width for place in range(len(found))], found, width, label=label)
    axes.set_xticks(range(len(names)), names, fontsize=7)
    axes.set_title("p50 milliseconds at scale, 4 connections")
    axes.legend()


def _workers(number: int) -> str:
    return f"{number} worker{'s' * (number > 1)}"


def _runs(results: Results, workers: int, connections: int) -> list[Results]:
    return [run for run in results["runs"] if run["workers"] == workers and run["connections"] == connections]
