"""Serves the metrics to Prometheus: those of this process, or of all worker processes of one server.

Workers keep their metrics in memory-mapped files in one private folder, so that any of them, or another
process, can answer for all. A dead worker's counts stay, since counters must not fall; its live gauges go.
CPU time, memory and open files are read from the system by `pid`: a sum would fall when a worker ends.
"""

import os
import re
import socket
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    ProcessCollector,
    disable_created_metrics,
    make_wsgi_app,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

# The library's own variable, and its only switch; it reads it once, when it is first imported.
FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"

_LIVE_GAUGES = re.compile(r"gauge_live[a-z]*_(\d+)\.db")


def scrape() -> CollectorRegistry:
    """What a scrape reads: all workers of the server that this process belongs to, or this process alone."""
    disable_created_metrics()  # type: ignore[no-untyped-call] # the library types it not
    folder = os.environ.get(FOLDER_VARIABLE)
    if not folder:
        return REGISTRY
    registry = CollectorRegistry(support_collectors_without_names=True)
    registry.register(_Workers(Path(folder)))
    return registry


def serve(sockets: Iterable[socket.socket]) -> None:
    """Answer scrapes on these bound sockets, each in its own thread, until the process ends."""
    for each in sockets:
        server = _Server(each, make_wsgi_app(scrape()))
        threading.Thread(target=server.serve_forever, name="scrapes", daemon=True).start()


def main() -> None:
    """Answer scrapes for the workers of the parent supervisor, on inherited sockets, until it ends."""
    serve(socket.socket(fileno=int(number)) for number in sys.argv[1:])
    supervisor = os.getppid()
    while os.getppid() == supervisor:
        time.sleep(1)


class _Handler(WSGIRequestHandler):
    timeout = 10  # how long a scraper may be silent

    def log_message(self, *_: object) -> None:
        """Log no request."""


class _Server(ThreadingMixIn, WSGIServer):
    """Uses a thread for each request, so that a slow one does not hold up others."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, listening: socket.socket, app: "WSGIApplication") -> None:
        super().__init__(listening.getsockname()[:2], _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.server_name, self.server_port = listening.getsockname()[:2]
        self.setup_environ()
        self.set_app(app)
        self.server_activate()


class _Workers(Collector):
    """The metrics in a shared folder, including the counts of dead workers, and those of the processes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._collector = MultiProcessCollector(None, str(folder))  # type: ignore[no-untyped-call] # as above

    def collect(self) -> Iterable[Metric]:
        workers = self._live_workers()
        yield from self._collector.collect()  # type: ignore[no-untyped-call] # as above
        # The parent is the supervisor, whether this process is a worker or only answers scrapes.
        yield from _of_processes(sorted({os.getppid(), os.getpid(), *workers}))

    def _live_workers(self) -> list[int]:
        """The ids of the workers that are running; the gauges of the others are dropped."""
        found = (_LIVE_GAUGES.fullmatch(file.name) for file in self._folder.iterdir())
        live = []
        for pid in sorted({int(match[1]) for match in found if match}):
            if _runs(pid):
                live.append(pid)
                continue
            with suppress(FileNotFoundError):  # another scrape was faster
                mark_process_dead(pid, str(self._folder))  # type: ignore[no-untyped-call] # as above
        return live


def _of_processes(pids: Iterable[int]) -> Iterable[Metric]:
    """Prometheus' own `process_*` metrics of each process; none if there is no /proc."""
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
    except OSError:  # it has ended, or its id belongs to another user's process now
        return False
    return True


if __name__ == "__main__":
    main()
