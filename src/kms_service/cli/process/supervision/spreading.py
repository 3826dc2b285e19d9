"""Accepts connections and passes each to the worker with the fewest."""

import selectors
import socket
import time
from collections import deque
from collections.abc import Iterable
from contextlib import suppress

from kms_service.cli.process.supervision.worker_handle import WorkerHandle

_ACCEPTS_AT_ONCE = 64
_NO_FILES_SECONDS = 1.0


class Spreading:
    """Holds the listening sockets; connections that no worker can take now wait in their backlog."""

    def __init__(
        self, listening: list[socket.socket], backlog: int, selector: selectors.BaseSelector
    ) -> None:
        self._listening = listening
        self._backlog = backlog
        self._selector = selector
        self._watched = False
        self._began = False
        self._pause_until = 0.0
        self._waiting: deque[socket.socket] = deque()

    def begin(self) -> None:
        """Listen, now that a worker serves; until then callers are refused, and know it."""
        if not self._began:
            self._began = True
            for each in self._listening:
                each.setblocking(False)
                each.listen(self._backlog)

    def reclaim(self, connections: Iterable[socket.socket]) -> None:
        """Take back connections that a worker will not take; they go first."""
        self._waiting.extendleft(reversed(list(connections)))

    def go_on(self, workers: Iterable[WorkerHandle]) -> None:
        """Pass on what waits, and watch for more while a worker can take it."""
        able = [worker for worker in workers if worker.accepts]
        while self._waiting and self._pass(self._waiting[0], able):
            self._waiting.popleft()
        pausing = time.monotonic() < self._pause_until
        self._watch(bool(able) and not self._waiting and self._began and not pausing)

    def accept(self, listening: socket.socket, workers: Iterable[WorkerHandle]) -> None:
        """Accept and pass on what has come, as much as the workers can take."""
        workers = list(workers)
        for _ in range(_ACCEPTS_AT_ONCE):
            able = [worker for worker in workers if worker.accepts]
            if not able:
                return
            try:
                connection, _address = listening.accept()
            except (BlockingIOError, ConnectionError):
                return  # none is left, or it is gone again
            except OSError:
                # No file descriptor is left: what waits keeps waiting.
                self._pause_until = time.monotonic() + _NO_FILES_SECONDS
                return
            if not self._pass(connection, able):
                self._waiting.append(connection)
                return

    def end(self) -> None:
        """Close everything: no worker takes connections any more."""
        self._watch(False)
        for each in (*self._listening, *self._waiting):
            each.close()
        self._listening = []
        self._waiting.clear()

    def _pass(self, connection: socket.socket, able: list[WorkerHandle]) -> bool:
        # A worker whose loop may stand still comes last; equals take turns.
        ordered = sorted(able, key=lambda worker: (not worker.fresh, worker.load, worker.passed_at))
        return any(worker.pass_on(connection) for worker in ordered)

    def _watch(self, watched: bool) -> None:
        if watched == self._watched:
            return
        self._watched = watched
        for each in self._listening:
            with suppress(KeyError):
                if watched:
                    self._selector.register(each, selectors.EVENT_READ, self)
                else:
                    self._selector.unregister(each)
