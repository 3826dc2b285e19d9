"""The real command `kms-service serve` in a process of its own."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from kms_endpoint import KmsEndpoint
from kms_service.access.scopes import Scope
from wiring import running_services, settings_for

SOURCES = Path(__file__).parents[1] / "src"
START_SECONDS = 60


@dataclass
class Server:
    """A server under test: its process, its log so far, and a client of it."""

    process: subprocess.Popen[str]
    url: str
    lines: list[str] = field(default_factory=list)

    def client(self, token: str) -> httpx.Client:
        """A client with this token, over a new connection for each request, so that all workers serve."""
        return httpx.Client(
            base_url=self.url,
            headers={"authorization": f"Bearer {token}"},
            limits=httpx.Limits(max_keepalive_connections=0),
            timeout=20,
        )

    def events(self, name: str) -> list[dict[str, Any]]:
        """The log's events of this name so far."""
        parsed = [json.loads(line) for line in self.lines if line.startswith("{")]
        return [event for event in parsed if event.get("event") == name]

    def wait_for(self, name: str, count: int = 1, seconds: float = START_SECONDS) -> list[dict[str, Any]]:
        """The events of this name, once there are so many."""
        end = time.monotonic() + seconds
        while len(found := self.events(name)) < count:
            assert time.monotonic() < end, f"no {name} in time:\n" + "\n".join(self.lines)
            time.sleep(0.05)
        return found


def environment(database_url: str, endpoint: KmsEndpoint, **more: str) -> dict[str, str]:
    """The environment of a service on these two."""
    kept = {name: value for name, value in os.environ.items() if name.startswith(("PATH", "AWS_", "COV"))}
    return {
        **kept,
        "PYTHONPATH": str(SOURCES),
        "AWS_REGION": endpoint.region,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_ENDPOINT_URL_KMS": endpoint.url,
        "DATABASE_URL": database_url,
        "PORT": str(free_port()),
        "LOG_FORMAT": "json",
        **more,
    }


def make_token(database_url: str, endpoint: KmsEndpoint, *scopes: str, name: str = "tester") -> str:
    """A token for a server on these two."""
    with running_services(settings_for(database_url, endpoint)) as services:
        made = services.tokens.create(
            name,
            [Scope(scope) for scope in scopes],
            expires_in=None,
            private_key_reads_per_minute=None,
            signatures_per_minute=None,
        )
    return made.secret


@contextmanager
def serving(variables: dict[str, str]) -> Iterator[Server]:
    """A running server, answering; ended with SIGTERM."""
    command = [sys.executable, "-m", "kms_service", "serve"]
    with subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own command
        server = Server(process, f"http://127.0.0.1:{variables['PORT']}")
        reader = threading.Thread(target=_read, args=(server,), daemon=True)
        reader.start()
        try:
            _answers(server)
            yield server
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
            reader.join(5)


def _read(server: Server) -> None:
    assert server.process.stdout is not None
    for line in server.process.stdout:
        server.lines.append(line.rstrip("\n"))


def _answers(server: Server) -> None:
    end = time.monotonic() + START_SECONDS
    while True:
        try:
            if httpx.get(f"{server.url}/livez", timeout=2).status_code == 200:
                return
        except httpx.TransportError:
            if server.process.poll() is not None or time.monotonic() > end:
                raise AssertionError("the server did not start:\n" + "\n".join(server.lines)) from None
        time.sleep(0.05)


def free_port() -> int:
    """A port that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
