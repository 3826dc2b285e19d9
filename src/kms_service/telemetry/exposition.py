"""The metrics as Prometheus reads them: of this process, or of all worker processes of one server.

Workers keep their metrics in memory-mapped files of one private folder, so that any of them, or a process
beside them, can answer for all. A dead worker's counts stay, since counters must not fall; its live gauges
go. CPU time, memory and open files are read from the system, by `pid`: a sum would fall with a worker's end.
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

# The library's own variable and its only switch; it looks once, when it is first imported.
FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"

_LIVE_GAUGES = re.compile(r"gauge_live[a-z]*_(\d+)\.db")


def scrape() -> CollectorRegistry:
    """What a scrape reads: all workers of the server this process belongs to, or this process alone."""
    disable_created_metrics()  # type: ignore[no-untyped-call] # the library types it not
    folder = os.environ.get(FOLDER_VARIABLE)
    if not folder:
        return REGISTRY
    registry = CollectorRegistry(support_collectors_without_names=True)
    registry.register(_Workers(Path(folder)))
    return registry


def serve(sockets: Iterable[socket.socket]) -> None:
    """Answer scrapes on these bound sockets, each in a thread of its own, until the process ends."""
    for each in sockets:
        server = _Server(each, make_wsgi_app(scrape()))
        threading.Thread(target=server.serve_forever, name="scrapes", daemon=True).start()


def main() -> None:
    """Answer scrapes for the workers of the supervisor above, on inherited sockets, until that ends."""
    serve(socket.socket(fileno=int(number)) for number in sys.argv[1:])
    supervisor = os.getppid()
    while os.getppid() == supervisor:
        time.sleep(1)


class _Handler(WSGIRequestHandler):
    timeout = 10  # of a scraper that says nothing

    def log_message(self, *_: object) -> None:
        """Log no request."""


class _Server(ThreadingMixIn, WSGIServer):
    """A thread for each request, so that one that is slow holds up no other."""

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
    """The metrics in a shared folder, the counts of dead workers too, and the processes themselves."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._collector = MultiProcessCollector(None, str(folder))  # type: ignore[no-untyped-call] # as above

    def collect(self) -> Iterable[Metric]:
        workers = self._live_workers()
        yield from self._collector.collect()  # type: ignore[no-untyped-call] # as above
        # Whether it is a worker or answers scrapes alone, what is above is the supervisor.
        yield from _of_processes(sorted({os.getppid(), os.getpid(), *workers}))

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


if __name__ == "__main__":
    main()
