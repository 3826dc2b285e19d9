"""`kms-service serve` with a token for everything, for tests that are callers from outside."""

import signal
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

from kms_endpoint import KmsEndpoint
from kms_service.access.scopes import Scope
from serving import environment, make_token, serving


@dataclass
class Served:
    """A serving process, its address, and the token."""

    url: str
    token: str
    process: subprocess.Popen[str]

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
    """Run the service until the block ends; it must not outlive the test."""
    more = {name.upper(): str(value) for name, value in settings.items()}
    with serving(environment(database_url, endpoint, **more)) as server:
        token = make_token(database_url, endpoint, *Scope, name=f"served-{uuid.uuid4()}")
        yield Served(server.url, token, server.process)
