"""scripts/pin-images.py against a registry over HTTP: what it asks, writes, and does not trust."""

import hashlib
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "pin-images.py"
TOKEN = "granted-to-anybody"


@dataclass
class Registry:
    """A registry that wants a token, as Docker Hub does, and has whatever tag it is asked for."""

    lies: bool = False
    asked: list[str] = field(default_factory=list)
    content: bytes = b'{"mediaType": "application/vnd.oci.image.index.v1+json"}'
    url: str = ""

    @property
    def digest(self) -> str:
        return f"sha256:{hashlib.sha256(self.content).hexdigest()}"


@pytest.fixture
def registry() -> Iterator[Registry]:
    registry = Registry()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            registry.asked.append(self.path)
            if self.path.startswith("/token?"):
                self._answer(200, {}, json.dumps({"token": TOKEN}).encode())
            elif self.headers.get("Authorization") != f"Bearer {TOKEN}":
                scope = f'Bearer realm="{registry.url}/token",service="registry",scope="repository:pull"'
                self._answer(401, {"WWW-Authenticate": scope}, b"{}")
            else:
                told = f"sha256:{'0' * 64}" if registry.lies else registry.digest
                self._answer(200, {"Docker-Content-Digest": told}, registry.content)

        def _answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        registry.url = f"http://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield registry
        server.shutdown()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("Dockerfile", "docker-compose.yml"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def _run(registry: Registry, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "--registry", registry.url, "--folder", str(folder), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603


def test_every_base_image_is_pinned_and_can_be_pinned_again(registry: Registry, folder: Path) -> None:
    assert _run(registry, folder, "--check").returncode == 1
    assert "@sha256" not in (folder / "docker-compose.yml").read_text()
    assert _run(registry, folder).returncode == 0
    assert f"ARG BASE=python:3.13-slim-trixie@{registry.digest}\n" in (folder / "Dockerfile").read_text()
    assert f"image: postgres:18-alpine@{registry.digest}\n" in (folder / "docker-compose.yml").read_text()
    assert "  image: kms-service\n" in (folder / "docker-compose.yml").read_text(), "which is our own"
    assert "/v2/library/python/manifests/3.13-slim-trixie" in registry.asked
    assert _run(registry, folder, "--check").returncode == 0

    registry.content = b"a newer index"
    behind = _run(registry, folder, "--check")
    assert (behind.returncode, "Dockerfile is behind its tags" in behind.stdout) == (1, True)
    assert _run(registry, folder).returncode == 0
    assert registry.digest in (folder / "Dockerfile").read_text()


def test_a_lying_or_absent_registry_changes_nothing(registry: Registry, folder: Path) -> None:
    before = (folder / "Dockerfile").read_text()
    registry.lies = True
    assert _run(registry, folder).returncode == 69
    registry.url = "http://127.0.0.1:9"
    for words in ((), ("--check",)):
        done = _run(registry, folder, *words)
        assert (done.returncode, "Traceback" in done.stderr) == (69, False)
    assert (folder / "Dockerfile").read_text() == before
