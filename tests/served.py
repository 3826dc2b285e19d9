"""The service as its operators run it: a process that serves HTTP, for tests from outside."""

import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from kms_endpoint import KmsEndpoint
from kms_service.access.scopes import Scope
from wiring import running_services, settings_for

START_SECONDS = 30.0
SOURCE = Path(__file__).parents[1] / "src"


@dataclass
class Served:
    """A serving process, its address, and a token for everything."""

    url: str
    token: str
    process: subprocess.Popen[bytes]

    def client(self) -> httpx.Client:
        """A client with the token; the caller closes it."""
        return httpx.Client(base_url=self.url, headers=self.headers, timeout=20)

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def terminate(self, within: float = 20.0) -> int:
        """Send SIGTERM and wait; the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(within)


@contextmanager
def served(database_url: str, endpoint: KmsEndpoint, **settings: object) -> Iterator[Served]:
    """Run `kms-service serve` until the block ends; it must not outlive the test."""
    port = _free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "kms_service", "serve"],
        env=_environ(database_url, endpoint, {"port": port, **settings}),
        stdout=subprocess.DEVNULL,
    )
    try:
        served = Served(f"http://127.0.0.1:{port}", _token(database_url, endpoint), process)
        _wait(served)
        yield served
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _environ(database_url: str, endpoint: KmsEndpoint, settings: dict[str, object]) -> dict[str, str]:
    names = {
        "DATABASE_URL": database_url,
        "AWS_ENDPOINT_URL_KMS": endpoint.url,
        "AWS_REGION": endpoint.region,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "PYTHONPATH": str(SOURCE),
    }
    return os.environ | names | {name.upper(): str(value) for name, value in settings.items()}


def _token(database_url: str, endpoint: KmsEndpoint) -> str:
    with running_services(settings_for(database_url, endpoint)) as services:
        made = services.tokens.create(
            f"test-{uuid.uuid4()}", list(Scope), expires_in=None, private_key_reads_per_minute=None
        )
    return made.secret


def _wait(served: Served) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and served.process.poll() is None:
        try:
            httpx.get(served.url + "/livez")
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("the service did not start")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
