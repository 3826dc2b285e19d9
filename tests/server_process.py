"""Runs `kms-service` as a separate process, the way an operator runs it.

Unless a test is about the start itself, the process is forked from one that has imported the service already.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from ssl import SSLContext
from typing import IO, Any

import httpx

import forking
from event_loop import complete
from kms_endpoint import KmsEndpoint
from kms_service.access.scopes import Scope
from kms_service.settings import Settings, load_settings
from waiting import wait_until
from wiring import TESTER, running_services

# Generous, for a busy machine: only a test that fails waits this long.
START_SECONDS = 150
STOP_SECONDS = 60

_SOURCES = Path(__file__).parents[1] / "src"
_ADDRESS = re.compile(r"(https?://(?:[\w.]+|\[[\da-f:]+\]):[1-9]\d*)")


def environment(database_url: str, endpoint: KmsEndpoint, **changes: object) -> dict[str, str]:
    """The environment of a process on this database and KMS, with little of the developer's."""
    kept = {name: value for name, value in os.environ.items() if name.startswith(("PATH", "AWS_", "COV"))}
    return {
        **kept,
        "PYTHONPATH": str(_SOURCES),
        "PYTHONFAULTHANDLER": "1",
        "AWS_REGION": endpoint.region,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "canary-aws-secret",
        "AWS_ENDPOINT_URL_KMS": endpoint.url,
        "DATABASE_URL": database_url,
        "PORT": "0",
        "LOG_FORMAT": "json",
        "SHUTDOWN_DELAY_SECONDS": "0",
        **{name: str(value) for name, value in changes.items()},
    }


def run(*arguments: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = forking.start(arguments, env, out.fileno(), err.fileno())
        try:
            code = process.wait(START_SECONDS)
        finally:
            process.kill()
        printed = [_whole(stream) for stream in (out, err)]
    return subprocess.CompletedProcess(arguments, code, *printed)


def _whole(stream: IO[bytes]) -> str:
    stream.seek(0)
    return stream.read().decode()


def make_token(env: dict[str, str], name: str, *scopes: str) -> str:
    """Make a token for a process in this environment."""
    fields = {name.lower(): value for name, value in env.items() if name.lower() in Settings.model_fields}
    with running_services(load_settings(None, **fields)) as services:
        made = complete(
            services.tokens.create(
                TESTER,
                name,
                [Scope(scope) for scope in scopes],
                expires_in=None,
                private_key_reads_per_minute=None,
                signatures_per_minute=None,
                policy=None,
            )
        )
    return made.secret


def set_policy(env: dict[str, str], name: str, document: bytes) -> None:
    """Set a policy for a process in this environment."""
    fields = {name.lower(): value for name, value in env.items() if name.lower() in Settings.model_fields}
    with running_services(load_settings(None, **fields)) as services:
        complete(services.policies.set(TESTER, name, document))


@dataclass
class ServerProcess:
    """A serving process, where it answers, and everything it has printed."""

    process: subprocess.Popen[bytes] | forking.Forked
    url: str = ""
    out: list[str] = field(default_factory=list)
    err: list[str] = field(default_factory=list)
    _events: list[dict[str, Any]] = field(default_factory=list)  # of `out`, as far as it has been read

    @property
    def printed(self) -> str:
        """Both streams."""
        return "\n".join([*self.out, *self.err])

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        """The log lines so far, of one event or all; they must all be JSON."""
        self._events += [json.loads(line) for line in self.out[len(self._events) :]]
        return [each for each in self._events if name in (None, each.get("event"))]

    def wait_for(self, name: str, count: int = 1) -> list[dict[str, Any]]:
        """Wait for `count` events of this name, and return them."""
        wait_until(lambda: len(self.events(name)) >= count, START_SECONDS, lambda: self.printed)
        return self.events(name)

    def client(self, token: str) -> httpx.Client:
        """A client with this token, over a new connection for each request, so that all workers serve."""
        return httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {token}"},
            limits=httpx.Limits(max_keepalive_connections=0),
            timeout=60,
        )

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Signal it, wait for its end, and return the exit code."""
        self.process.send_signal(how)
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)  # makes Python print where every thread is
            self.process.wait(STOP_SECONDS)
            raise AssertionError(f"it did not end:\n{self.printed}") from None


@contextmanager
def serve(
    env: dict[str, str], tls: SSLContext | None = None, *, anew: bool = False
) -> Iterator[ServerProcess]:
    """Run `kms-service serve`; yields once it is ready, and ends it whatever happens.

    Args:
        env: its environment; if its LOG_LEVEL hides the address, it must have a PORT.
        tls: how to reach it over TLS.
        anew: in a new interpreter.
    """
    server, readers = _start(env, anew=anew)
    try:
        server.url = _address(server) if env["PORT"] == "0" else f"http://127.0.0.1:{env['PORT']}"
        _until_ready(server, tls)
        yield server
    finally:
        _end(server.process)
        for reader in readers:
            reader.join(5)


def _start(env: dict[str, str], *, anew: bool) -> tuple[ServerProcess, list[threading.Thread]]:
    (out, told_out), (err, told_err) = os.pipe(), os.pipe()
    try:
        process = (
            subprocess.Popen(
                [sys.executable, "-m", "kms_service", "serve"],
                env=env,
                stdout=told_out,
                stderr=told_err,
                start_new_session=True,
            )
            if anew
            else forking.start(["serve"], env, told_out, told_err)
        )
    finally:
        os.close(told_out)
        os.close(told_err)
    server = ServerProcess(process)
    return server, [_follow(out, server.out), _follow(err, server.err)]


def _end(process: subprocess.Popen[bytes] | forking.Forked) -> None:
    if process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # whatever it left: nothing outlives a test
    process.wait()


def _follow(descriptor: int, lines: list[str]) -> threading.Thread:
    def follow() -> None:
        with open(descriptor, encoding="utf-8") as stream:
            for line in stream:
                lines.append(line.rstrip("\n"))  # noqa: PERF401 # as they come, not at the end

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    return thread


def _address(server: ServerProcess) -> str:
    def find_addresses() -> list[str]:
        lines = [line for line in list(server.out) if "listening" in line]
        return [address[1] for line in lines if (address := _ADDRESS.search(line))]

    def started() -> bool:
        assert server.process.poll() is None, server.printed
        return bool(find_addresses())

    wait_until(started, START_SECONDS, lambda: server.printed)
    return find_addresses()[0]


def _until_ready(server: ServerProcess, tls: SSLContext | None) -> None:
    def ready() -> bool:
        try:
            return client.get("/readyz").status_code == 200
        except httpx.TransportError:
            assert server.process.poll() is None, server.printed
            return False

    with httpx.Client(base_url=server.url, verify=tls or True, timeout=10) as client:
        wait_until(ready, START_SECONDS, lambda: server.printed)
