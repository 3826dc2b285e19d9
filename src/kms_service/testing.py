"""A pytest plugin that runs the real service for the tests of its callers.

    def test_a_user_gets_a_wallet(kms_service):
        answer = httpx.put(f"{kms_service.url}/wallets/alice", headers=kms_service.headers)
        assert answer.status_code == 201

Needs the extra `local`. It runs as its own process: mocks in a test do not reach it, and it calls no AWS.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from kms_service.settings import Settings

_READY_SECONDS = 120.0
_STOP_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class RunningService:
    """A running service with its own PostgreSQL and a KMS stand-in with ten keys.

    Attributes:
        url: its base URL, without a trailing slash.
        token: a bearer token with every scope, valid for this service only.
        settings: what it runs with; `settings.database_url` opens its database with every right, and
            `settings.aws_endpoint_url_kms` is where boto3 reaches its keys.
    """

    url: str
    token: str = field(repr=False)
    settings: "Settings"

    @property
    def headers(self) -> dict[str, str]:
        """Headers that authorise a request with every scope."""
        return {"Authorization": f"Bearer {self.token}"}


@pytest.fixture(scope="session")
def kms_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """One running service for all tests of this process: let each test use its own user ids."""
    folder: Path = tmp_path_factory.mktemp("kms-service") / "session"
    folder.mkdir()
    log = folder.parent / "service.log"
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-m", "kms_service", "local", "--folder", str(folder)],
            cwd=folder,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        yield _ready(process, folder, log)
    finally:
        process.terminate()
        process.wait(_STOP_SECONDS)


def _environment() -> dict[str, str]:
    from kms_service.settings import Settings  # noqa: PLC0415 - only where the fixture is used

    kept = {name: value for name, value in os.environ.items() if name.lower() not in Settings.model_fields}
    return {**kept, "PORT": "0"}


def _ready(process: "subprocess.Popen[bytes]", folder: Path, log: Path) -> RunningService:
    deadline = time.monotonic() + _READY_SECONDS
    while not (folder / "session.json").exists():
        if process.poll() is not None or time.monotonic() > deadline:
            pytest.fail(f"kms-service did not start:\n{log.read_text(errors='replace')}", pytrace=False)
        time.sleep(0.02)
    told = json.loads((folder / "session.json").read_text())
    return RunningService(told["url"], (folder / "token").read_text().strip(), _settings(told["environ"]))


def _settings(environ: dict[str, str]) -> "Settings":
    from kms_service.settings import Settings, load_settings  # noqa: PLC0415 - as above

    fields = {name: field.default for name, field in Settings.model_fields.items() if not field.is_required()}
    return load_settings(None, **{**fields, **{name.lower(): value for name, value in environ.items()}})
