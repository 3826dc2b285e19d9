"""A worker process as its supervisor sees it."""

import socket
import subprocess
import sys
import time
from collections import deque
from contextlib import suppress

from kms_service.cli.process.supervision.messages import FAILED, READY, STATE, STOPPING, Message, decode

# Passed and not yet taken. More would wait behind a loop that may stand still, while others could serve them.
MOST_PASSED = 16
# Longer than any pause between beats of a healthy worker.
FRESH_SECONDS = 2.0


class WorkerHandle:
    """Starts a worker, passes it connections, and keeps each until the worker has taken it.

    Attributes:
        ready: it serves.
        retiring: another has taken its place, and it must end.
        stopping: it takes no more connections.
        failure: why it could not begin to serve, if it said so.
        heard_at: when it last said anything, or was started; of the monotonic clock.
    """

    def __init__(self, module: str) -> None:
        self.control, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(  # noqa: S603 # this interpreter, our own module
                [*python(), "-m", module, str(theirs.fileno())], pass_fds=[theirs.fileno()]
            )
        self.control.setblocking(False)
        self.ready = self.retiring = self.stopping = False
        self.failure: Message | None = None
        self.started_at = self.heard_at = self.passed_at = time.monotonic()
        self._received = b""
        self._open = 0
        self._taken = 0
        self._untaken: deque[socket.socket] = deque()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def accepts(self) -> bool:
        """Whether connections may be passed to it."""
        return self.ready and not self.retiring and not self.stopping and len(self._untaken) < MOST_PASSED

    @property
    def fresh(self) -> bool:
        """Whether its event loop turned a moment ago."""
        return time.monotonic() - self.heard_at < FRESH_SECONDS

    @property
    def load(self) -> int:
        """Its open connections, with those on their way to it."""
        return self._open + len(self._untaken)

    def pass_on(self, connection: socket.socket) -> bool:
        """Give it a connection; False if it cannot be reached, and the connection stays the caller's."""
        try:
            socket.send_fds(self.control, [b"c"], [connection.fileno()])
        except OSError:
            return False
        self._untaken.append(connection)
        self.passed_at = time.monotonic()
        return True

    def listen(self) -> None:
        """Read all that it has said."""
        with suppress(OSError):
            while part := self.control.recv(65536):
                self._received += part
        *lines, self._received = self._received.split(b"\n")
        for line in lines:
            self._note(decode(line))

    def reclaim(self) -> list[socket.socket]:
        """The connections that it was passed and will never take, for others."""
        left, self._untaken = list(self._untaken), deque()
        return left

    def stop(self) -> None:
        """Have it finish what it is doing, and end."""
        self._signal_if_alive("terminate")

    def kill(self) -> None:
        """End it now."""
        self._signal_if_alive("kill")

    def _note(self, message: Message) -> None:
        self.heard_at = time.monotonic()
        if message.kind == READY:
            self.ready = True
        elif message.kind == STOPPING:
            self.stopping = True
        elif message.kind == FAILED:
            self.failure = message
        elif message.kind == STATE:
            self._open = message.open
            while self._taken < message.taken:
                self._taken += 1
                self._untaken.popleft().close()

    def _signal_if_alive(self, how: str) -> None:
        with suppress(ProcessLookupError):
            getattr(self.process, how)()


def python() -> list[str]:
    """The command for this interpreter, which imports from where this process does."""
    return [sys.executable, *(["-P"] if sys.flags.safe_path else [])]
