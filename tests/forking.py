"""`kms-service` in a process forked from one that has imported it: a start at a sixth of its cost.

To import the service takes 0.7 s of processor time, and tests start it some hundred times. A forked process
has an environment, folder, streams, session and signals of its own; it reads its settings, connects and ends
like any other. Only its imports come from the process that it was forked from, so a test about the start
itself needs a new interpreter.

Run as a script, this file is the process to fork from. It imports nothing of the tests.
"""

import atexit
import faulthandler
import gc
import json
import os
import pkgutil
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from types import FrameType

from kms_service import api, cli
from kms_service.ethereum import signing

_LENGTH = 4
_STATUS = 4


# --- the side of the tests ---


class Forked:
    """A forked process that runs one command; to be used as a `subprocess.Popen`."""

    def __init__(self, pid: int, status: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._status = status

    def poll(self) -> int | None:
        """The exit code, if it has ended."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end, and return the exit code.

        Raises:
            subprocess.TimeoutExpired: it has not ended after `timeout` seconds.
        """
        if self.returncode is None:
            ends = select.poll()  # not `select`, which knows no descriptor from 1,024 on
            ends.register(self._status, select.POLLIN)
            if not ends.poll(None if timeout is None else timeout * 1000):
                raise subprocess.TimeoutExpired("kms-service", timeout or 0)
            told = os.read(self._status, _STATUS)
            assert len(told) == _STATUS, "what it was forked from has ended"
            os.close(self._status)
            self.returncode = os.waitstatus_to_exitcode(int.from_bytes(told, "little"))
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send it SIGTERM, unless it has ended."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send it SIGKILL, unless it has ended."""
        self.send_signal(signal.SIGKILL)


def start(arguments: Sequence[str], env: Mapping[str, str], out: int, err: int) -> Forked:
    """Start `kms-service` with these arguments, in this environment and a session of its own.

    Args:
        arguments: behind `kms-service`.
        env: its whole environment, with a `PYTHONPATH`.
        out: the descriptor of its standard output.
        err: that of its standard error.
    """
    request = json.dumps({"arguments": list(arguments), "env": dict(env), "folder": str(Path.cwd())}).encode()
    status, told = os.pipe()
    try:
        origin = _origin(env["PYTHONPATH"])
        socket.send_fds(origin, [len(request).to_bytes(_LENGTH, "little")], [out, err, told])
        origin.sendall(request)
        pid = int.from_bytes(_receive(origin, _LENGTH), "little")
    finally:
        os.close(told)
    return Forked(pid, status)


@cache
def _origin(path: str) -> socket.socket:
    """The socket to this test process's own process to fork from, which ends when it closes.

    There is one for each `PYTHONPATH`, so for each version of the service.
    """
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(  # noqa: S603 - this interpreter and this file
            [sys.executable, "-P", __file__, str(theirs.fileno())],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": path},
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
    atexit.register(_end, ours, process)
    return ours


def _end(origin: socket.socket, process: subprocess.Popen[bytes]) -> None:
    origin.close()
    process.wait()


def _receive(connection: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count:
        part = connection.recv(count - len(found))
        if not part:
            raise EOFError
        found += part
    return found


# --- the process that is forked from ---


@dataclass(frozen=True, slots=True)
class Request:
    """What to run, as whom, and where its output and its exit status go."""

    arguments: list[str]
    env: dict[str, str]
    folder: str
    out: int
    err: int
    told: int


class Origin:
    """Forks a process for each request, and tells when it has ended."""

    def __init__(self, requests: socket.socket) -> None:
        self._requests = requests
        self._running: dict[int, int] = {}  # where to tell the status of each process
        signal.signal(signal.SIGCHLD, self._reap)

    def serve(self) -> Request | None:
        """Serve until the socket closes; in each forked process return its request."""
        while True:
            try:
                request = self._next()
            except EOFError:
                return None
            # The handler must not meet a process that it does not know yet.
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
            pid = os.fork()
            if pid == 0:
                self._let_go()
                return request
            self._running[pid] = request.told
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
            os.close(request.out)
            os.close(request.err)
            self._requests.sendall(pid.to_bytes(_LENGTH, "little"))

    def _next(self) -> Request:
        head, descriptors, _, _ = socket.recv_fds(self._requests, _LENGTH, 3)
        if not head:
            raise EOFError
        asked = json.loads(_receive(self._requests, int.from_bytes(head, "little")))
        return Request(**asked, out=descriptors[0], err=descriptors[1], told=descriptors[2])

    def _let_go(self) -> None:
        """Be a process of its own: what belongs to the others is closed."""
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
        self._requests.close()
        for told in self._running.values():
            os.close(told)

    def _reap(self, _signal: int, _frame: FrameType | None) -> None:
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                told = self._running.pop(pid)
                with suppress(BrokenPipeError):  # nobody waits for it any more
                    os.write(told, status.to_bytes(_STATUS, "little"))
                os.close(told)


def become(request: Request) -> None:
    """Be what a new interpreter would be after its imports."""
    os.setsid()
    os.dup2(request.out, sys.stdout.fileno())
    os.dup2(request.err, sys.stderr.fileno())
    for each in (request.out, request.err, request.told):
        os.close(each)
    os.chdir(request.folder)
    os.environ.clear()
    os.environ.update(request.env)
    time.tzset()
    sys.argv = ["kms-service", *request.arguments]
    sys.path[0] = request.folder  # as `python -m` has it
    if "COVERAGE_PROCESS_CONFIG" in request.env:
        import coverage  # noqa: PLC0415 - only if it measures

        coverage.process_startup()


def import_service() -> None:
    """Import every command and the application, with all that they import, some of it on use only."""
    assert Path(str(cli.__file__)).is_relative_to(os.environ["PYTHONPATH"]), "this is another version"
    for package in (cli, api):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            import_module(found.name)
    for name in ("boto3", "botocore.session"):
        import_module(name)
    signing.warm_up()  # as a worker does in its first moments, for 0.4 s


if __name__ == "__main__":
    faulthandler.enable()
    gc.disable()
    sys.path.insert(0, "")  # `-P` keeps the tests' folder out; `become` puts another here
    origin = Origin(socket.socket(fileno=int(sys.argv[1])))
    import_service()
    gc.freeze()
    gc.enable()
    taken = origin.serve()
    if taken is not None:
        become(taken)
        cli.main()
