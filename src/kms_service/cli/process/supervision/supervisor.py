"""The parent of several worker processes: accepts connections, spreads them, and replaces a worker that dies.

It imports nothing that the workers serve with, which would cost memory, and time at every start. A connection
goes to the worker with the fewest, so they are spread evenly whatever the kernel does, and stays open here
until that worker has taken it: if the worker dies first, another gets it. Run by `python -m` with a `Plan` as
JSON.
"""

import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from kms_service.cli.process.supervision.lines import Lines
from kms_service.cli.process.supervision.spreading import Spreading
from kms_service.cli.process.supervision.worker_handle import WorkerHandle, python

_TICK_SECONDS = 0.5
_RESTART_SECONDS = 1.0
_STOP_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT})


@dataclass(frozen=True, slots=True)
class Plan:
    """What to supervise.

    Attributes:
        listening: numbers of inherited sockets, bound and not yet listening.
        backlog: how many connections may wait there.
        workers: how many processes.
        worker: the module that each runs.
        beside: arguments to Python for one more process to keep alive; none when empty.
        beside_sockets: inherited sockets that it is passed.
        hang_seconds: a worker whose event loop stands still for this long is ended.
        start_seconds: how long a start may take.
        stop_seconds: how long a stop may take.
        as_json: how to log.
        level: the minimum level to log, as a number of `logging`.
        folder: removed with its files at the end.
    """

    listening: list[int]
    backlog: int
    workers: int
    worker: str
    beside: list[str]
    beside_sockets: list[int]
    hang_seconds: float
    start_seconds: float
    stop_seconds: float
    as_json: bool
    level: int
    folder: str


class Supervisor:
    """Keeps the workers of a plan alive until a signal comes, or until none can begin to serve."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._log = Lines(plan.as_json, plan.level)
        self._selector = selectors.DefaultSelector()
        listening = [socket.socket(fileno=number) for number in plan.listening]
        self._spreading = Spreading(listening, plan.backlog, self._selector)
        self._workers: list[WorkerHandle] = []
        self._due: list[float] = []  # when to start a worker
        self._end_by: dict[WorkerHandle, float] = {}  # those told to stop
        self._to_replace: deque[WorkerHandle] = deque()
        self._replacement: WorkerHandle | None = None
        self._beside: subprocess.Popen[bytes] | None = None
        self._beside_due = 0.0
        self._has_served = self._stopping = False
        self._exit_code = 0

    def run(self) -> int:
        """Supervise, and return the exit code."""
        self._hear_signals()
        for _ in range(self._plan.workers):
            self._start()
        while self._workers or self._due or not self._stopping:
            for key, _ in self._selector.select(_TICK_SECONDS):
                if key.data is self._spreading:
                    assert isinstance(key.fileobj, socket.socket)  # noqa: S101 # narrows
                    self._spreading.accept(key.fileobj, self._workers)
                else:
                    key.data()
            self._reap()
            self._end_late_ones()
            self._start_due_ones()
            self._replace_next()
            self._keep_beside()
            self._spread()
        self._spreading.end()
        self._end_beside()
        return self._exit_code

    # --- signals ---

    def _hear_signals(self) -> None:
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setblocking(False)
        # Python writes each signal's number to `theirs`; the callback's arguments keep that socket open.
        signal.set_wakeup_fd(theirs.fileno())
        self._selector.register(ours, selectors.EVENT_READ, partial(self._on_signals, ours, theirs))
        for number in (*_STOP_SIGNALS, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)

    def _on_signals(self, ours: socket.socket, _theirs: socket.socket) -> None:
        for number in ours.recv(4096):
            if number in _STOP_SIGNALS:
                self._stop(0)
            elif number == signal.SIGHUP and not self._stopping:
                self._to_replace.extend(each for each in self._workers if each not in self._to_replace)

    # --- starting and ending workers ---

    def _start(self) -> WorkerHandle:
        worker = WorkerHandle(self._plan.worker)
        self._workers.append(worker)
        self._selector.register(worker.control, selectors.EVENT_READ, worker.listen)
        self._log.info("worker_started", pid=worker.pid)
        return worker

    def _start_due_ones(self) -> None:
        now = time.monotonic()
        for due in [due for due in self._due if due <= now]:
            self._due.remove(due)
            self._start()

    def _retire(self, worker: WorkerHandle) -> None:
        worker.stop()
        self._end_by.setdefault(worker, time.monotonic() + self._plan.stop_seconds)

    def _stop(self, exit_code: int) -> None:
        if not self._stopping:
            self._stopping = True
            self._exit_code = exit_code
            self._due.clear()
            self._to_replace.clear()
        for worker in self._workers:
            self._retire(worker)

    def _end_late_ones(self) -> None:
        now = time.monotonic()
        for worker in self._workers:
            if worker in self._end_by:
                late = "stop" if now > self._end_by[worker] else ""
            elif worker.ready:
                late = "loop" if now > worker.heard_at + self._plan.hang_seconds else ""
            else:
                late = "start" if now > worker.started_at + self._plan.start_seconds else ""
            if late:
                self._log.warning("worker_late", pid=worker.pid, late=late)
                worker.kill()

    def _reap(self) -> None:
        for worker in list(self._workers):
            if worker.process.poll() is not None:
                worker.listen()
                self._workers.remove(worker)
                self._selector.unregister(worker.control)
                worker.control.close()
                self._spreading.reclaim(worker.reclaim())
                self._follow_up(worker)

    def _follow_up(self, worker: WorkerHandle) -> None:
        """Decide what follows a worker's end."""
        told_to = self._end_by.pop(worker, None) is not None
        if self._stopping or told_to:
            return
        code = worker.process.returncode
        self._log.warning("worker_died", pid=worker.pid, exitCode=code)
        if worker.failure is not None:
            sys.stderr.write(worker.failure.reason + "\n")
            code = worker.failure.exit_code
        if worker is self._replacement:
            self._replacement = None
            self._to_replace.clear()  # the old ones stay
        elif self._replacement is not None and self._to_replace and worker is self._to_replace[0]:
            # Its replacement is already starting.
            self._replacement = None
            self._to_replace.popleft()
        elif code > 0 and not worker.ready and not self._serves():
            # All would fail in the same way.
            self._stop(code)
        else:
            # While others serve, what this one lacks, such as the database, may come back.
            self._due.append(max(time.monotonic(), worker.started_at + _RESTART_SECONDS))

    def _serves(self) -> bool:
        return any(worker.ready and worker.fresh for worker in self._workers)

    def _replace_next(self) -> None:
        """Continue a rolling restart: start a new worker, and stop the old one once the new one serves."""
        while self._to_replace and self._to_replace[0] not in self._workers:
            self._to_replace.popleft()
        if not self._to_replace or self._end_by:
            return
        if self._replacement is None:
            self._replacement = self._start()
        elif self._replacement.ready:
            self._replacement = None
            self._to_replace[0].retiring = True
            self._retire(self._to_replace.popleft())

    # --- connections ---

    def _spread(self) -> None:
        for worker in self._workers:
            if worker.stopping:
                self._spreading.reclaim(worker.reclaim())
        if any(worker.ready for worker in self._workers):
            self._spreading.begin()
        self._spreading.go_on(self._workers)
        if self._stopping and all(worker.stopping for worker in self._workers):
            self._spreading.end()

    # --- the process beside ---

    def _keep_beside(self) -> None:
        now = time.monotonic()
        alive = self._beside is not None and self._beside.poll() is None
        if not self._plan.beside or alive or self._stopping or now < self._beside_due:
            return
        self._beside_due = now + _RESTART_SECONDS
        self._beside = subprocess.Popen(  # noqa: S603 # this interpreter, our own module
            [*python(), *self._plan.beside], pass_fds=self._plan.beside_sockets
        )

    def _end_beside(self) -> None:
        if self._beside is not None:
            self._beside.kill()
            self._beside.wait()


def main() -> None:
    """Supervise what the first argument says, and exit."""
    plan = Plan(**json.loads(sys.argv[1]))
    try:
        code = Supervisor(plan).run()
    finally:
        _remove(plan.folder)
    sys.exit(code)


def _remove(folder: str) -> None:
    with suppress(OSError):
        for entry in os.scandir(folder):
            os.unlink(entry.path)  # noqa: PTH108 # pathlib would be one more import
        os.rmdir(folder)  # noqa: PTH106 # as above


if __name__ == "__main__":
    main()
