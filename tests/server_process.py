"""`kms-service` as a process of its own, the way an operator runs it."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from kms_endpoint import KmsEndpoint

_READY_SECONDS = 30
_STOP_SECONDS = 20


def environment(database_url: str, endpoint: KmsEndpoint, **changes: str) -> dict[str, str]:
    """What a process needs to serve on these two, and nothing of the developer's."""
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_REGION": endpoint.region,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "canary-aws-secret",
        "AWS_ENDPOINT_URL_KMS": endpoint.url,
        "DATABASE_URL": database_url,
        "PORT": "0",
        "LOG_FORMAT": "json",
        **changes,
    }


def run(*arguments: str, env: dict[str, str], seconds: float = 30) -> subprocess.CompletedProcess[str]:
    """One command to its end."""
    return subprocess.run(  # noqa: S603 - this interpreter and the tests' own words
        [sys.executable, "-m", "kms_service", *arguments],
        env=env,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


def make_token(env: dict[str, str], name: str, *scopes: str) -> str:
    """A token, made by the command that operators use."""
    wanted = [part for scope in scopes for part in ("--scope", scope)]
    done = run("token", "create", name, *wanted, "--json", env=env)
    assert done.returncode == 0, done.stderr
    token: str = json.loads(done.stdout)["token"]
    return token


@dataclass
class ServerProcess:
    """A serving process and everything it has printed."""

    process: subprocess.Popen[str]
    out: list[str] = field(default_factory=list)
    err: list[str] = field(default_factory=list)
    client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=30))

    @property
    def printed(self) -> str:
        """Both streams."""
        return "\n".join([*self.out, *self.err])

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        """The log lines so far, all of which must be JSON."""
        lines = [json.loads(line) for line in list(self.out)]
        return [line for line in lines if name in (None, line["event"])]

    def get(self, path: str, token: str = "") -> httpx.Response:
        """One GET."""
        return self.client.get(path, headers=_bearer(token))

    def put(self, path: str, token: str) -> httpx.Response:
        """One PUT."""
        return self.client.put(path, headers=_bearer(token))

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Signal it and wait; the exit code."""
        self.process.send_signal(how)
        return self.process.wait(_STOP_SECONDS)


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}


@contextmanager
def serve(env: dict[str, str]) -> Iterator[ServerProcess]:
    """`kms-service serve`, once it is ready; ended at the end, whatever happens."""
    process = subprocess.Popen(
        [sys.executable, "-m", "kms_service", "serve"],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    server = ServerProcess(process)
    readers = [_reader(process.stdout, server.out), _reader(process.stderr, server.err)]
    try:
        server.client.base_url = httpx.URL(_address(server))
        _until_ready(server)
        yield server
    finally:
        server.client.close()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        for reader in readers:
            reader.join(5)


def _reader(stream: Any, lines: list[str]) -> threading.Thread:
    def follow() -> None:
        for line in iter(stream.readline, ""):
            lines.append(line.rstrip("\n"))  # noqa: PERF401 # as they come, not at the end
        stream.close()

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    return thread


def _address(server: ServerProcess) -> str:
    end = time.monotonic() + _READY_SECONDS
    while time.monotonic() < end and server.process.poll() is None:
        for line in list(server.out):
            found = re.search(r"running on (http://[\d.]+:[1-9]\d*)", line)
            if found:
                return found[1]
        time.sleep(0.02)
    raise AssertionError(f"it did not start:\n{server.printed}")


def _until_ready(server: ServerProcess) -> None:
    end = time.monotonic() + _READY_SECONDS
    while time.monotonic() < end:
        try:
            if server.get("/readyz").status_code == 200:
                return
        except httpx.TransportError:
            assert server.process.poll() is None, server.printed
        time.sleep(0.05)
    raise AssertionError(f"it did not become ready:\n{server.printed}")
