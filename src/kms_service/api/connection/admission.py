"""Who may stay connected: a bounded number of callers, and beyond them only probes.

A caller beyond the bound is refused at once, but what it asks for is known only once its head has arrived. So
a few more connections are let in to send one: a probe is answered, everything else is refused. They wait in a
short queue, which the newest always enters and the oldest leaves, so silent ones cannot keep a probe out.

A caller without a valid token cannot keep a place by doing nothing: when all places are taken, the connection
that has been idle longest since an answer, and never carried a request of a known caller, makes room.
"""

import time
from collections.abc import Callable, Mapping
from typing import Protocol

from kms_service.api.callers import caller_in
from kms_service.api.connection.patience import Awaited
from kms_service.telemetry import metrics
from kms_service.telemetry.logs import get_logger

SPARE_CONNECTIONS = 32
_LOG_SECONDS = 60.0

log = get_logger()


class Connection(Protocol):
    """A connection that can be evicted."""

    def evict(self) -> None:
        """Close at once, without an answer."""


class Admission:
    """Counts the connections of this process.

    Args:
        limit: how many may send any request.
        left: called after a connection has ended.
        clock: monotonic, in seconds.
    """

    def __init__(
        self, limit: int, left: Callable[[], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit = limit
        self._left = left
        self._clock = clock
        self._admitted: set[Connection] = set()
        self._known: set[Connection] = set()
        self._resting: dict[Connection, None] = {}  # in order of their last answers
        self._spare: dict[Connection, None] = {}  # in order of arrival
        self._logged = -_LOG_SECONDS

    def enter(self, connection: Connection) -> bool:
        """Count a new connection, and say whether it may send any request, or only a probe."""
        metrics.connections.inc()
        if len(self._admitted) >= self._limit and self._resting:
            longest = next(iter(self._resting))
            self._forget(longest)
            longest.evict()
        if len(self._admitted) < self._limit:
            self._admitted.add(connection)
            return True
        self._tell()
        self._spare[connection] = None
        if len(self._spare) > SPARE_CONNECTIONS:
            next(iter(self._spare)).evict()
        return False

    def leave(self, connection: Connection) -> None:
        """Free the place of a connection that has ended."""
        metrics.connections.dec()
        self._forget(connection)
        self._left()

    def note(self, connection: Connection, awaited: Awaited, served: Mapping[str, object] | None) -> None:
        """Note what this connection waits for now, and the scope of the request it served last, if any."""
        if served is not None and caller_in(served) is not None:
            self._known.add(connection)
        self._resting.pop(connection, None)
        if awaited is Awaited.REQUEST and connection in self._admitted and connection not in self._known:
            self._resting[connection] = None

    def _forget(self, connection: Connection) -> None:
        self._admitted.discard(connection)
        self._known.discard(connection)
        self._resting.pop(connection, None)
        self._spare.pop(connection, None)

    def _tell(self) -> None:
        if self._clock() - self._logged >= _LOG_SECONDS:
            self._logged = self._clock()
            log.warning("connections_full", limit=self._limit)
