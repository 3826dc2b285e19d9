"""The metrics as Prometheus reads them: of this process, or of all worker processes of one server.

Workers keep their metrics in memory-mapped files of one private folder, so that any of them, or their parent,
can answer for all. A dead worker's counts stay, since counters must not fall; its live gauges go. CPU time,
memory and open files are read from the system, by `pid`: a sum would fall with a worker's end.
"""

import multiprocessing
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    ProcessCollector,
    disable_created_metrics,
    start_http_server,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

# The library's own variable and its only switch; it looks once, when it is first imported.
FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"

_LIVE_GAUGES = re.compile(r"gauge_live[a-z]*_(\d+)\.db")


@contextmanager
def shared_folder() -> Iterator[Path]:
    """Worker processes started inside share their metrics in a private folder, which is removed at the end.

    The caller's own metrics stay out of it: this process imported the library before.
    """
    with tempfile.TemporaryDirectory(prefix="kms-service-metrics-") as folder:
        os.environ[FOLDER_VARIABLE] = folder
        try:
            yield Path(folder)
        finally:
            del os.environ[FOLDER_VARIABLE]


def scraped() -> CollectorRegistry:
    """What a scrape reads: all workers of the server this process belongs to, or this process alone."""
    disable_created_metrics()  # type: ignore[no-untyped-call] # the library types it not
    folder = os.environ.get(FOLDER_VARIABLE)
    if not folder:
        return REGISTRY
    registry = CollectorRegistry(support_collectors_without_names=True)
    registry.register(_Workers(Path(folder)))
    return registry


def serve(host: str, port: int) -> int:
    """Answer scrapes on a port of their own, in a thread of their own, until the process ends.

    Returns:
        The port, which the system picks when `port` is 0.

    Raises:
        OSError: the port is taken or not allowed.
    """
    server, _thread = start_http_server(port, host, scraped())
    return server.server_port


class _Workers(Collector):
    """The metrics in a shared folder, the counts of dead workers too, and the processes themselves."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._collector = MultiProcessCollector(None, str(folder))  # type: ignore[no-untyped-call] # as above

    def collect(self) -> Iterable[Metric]:
        workers = self._live_workers()
        yield from self._collector.collect()  # type: ignore[no-untyped-call] # as above
        parent = multiprocessing.parent_process()
        yield from _of_processes([os.getpid() if parent is None else parent.pid or 0, *workers])

    def _live_workers(self) -> list[int]:
        """The workers that run; the gauges of the others are forgotten."""
        found = (_LIVE_GAUGES.fullmatch(file.name) for file in self._folder.iterdir())
        live = []
        for pid in sorted({int(match[1]) for match in found if match}):
            if _runs(pid):
                live.append(pid)
                continue
            with suppress(FileNotFoundError):  # another scrape was quicker
                mark_process_dead(pid, str(self._folder))  # type: ignore[no-untyped-call] # as above
        return live


def _of_processes(pids: Iterable[int]) -> Iterable[Metric]:
    """Prometheus' own `process_*` metrics of each; none where there is no /proc."""
    joined: dict[str, Metric] = {}
    for pid in pids:
        for family in ProcessCollector(pid=partial(int, pid), registry=None).collect():
            whole = joined.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            for sample in family.samples:
                whole.add_sample(sample.name, {"pid": str(pid)}, sample.value)
    return joined.values()


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:  # gone, or its number belongs to somebody else now
        return False
    return True
