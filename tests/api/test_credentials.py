"""The source of AWS credentials hangs: only what needs KMS fails, readiness says why, and it recovers."""

import json
import os
import stat
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from calling import Service, serving
from kms_endpoint import KmsEndpoint
from kms_service.settings import Settings
from waiting import wait_until


class Program:
    """A `credential_process` that a test moves: credentials of so many seconds, or no answer."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "program"
        self.config = folder / "config"
        self.config.write_text(f"[default]\ncredential_process = {self._path}\n")

    def hand_out(self, seconds: float) -> None:
        expiration = (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()
        answer = {"Version": 1, "AccessKeyId": "AKIDP", "SecretAccessKey": "s", "Expiration": expiration}
        self._write(f"echo '{json.dumps(answer)}'")

    def hang(self) -> None:
        self._write("exec sleep 60")

    def _write(self, script: str) -> None:
        new = self._path.with_suffix(".new")
        new.write_text(f"#!/bin/sh\n{script}\n")
        new.chmod(stat.S_IRWXU)
        new.replace(self._path)


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Program:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    made = Program(tmp_path)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(made.config))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    return made


def _time(service: Service, method: str, path: str) -> tuple[int, float]:
    started = time.monotonic()
    status = service.call(method, path).status_code
    return status, time.monotonic() - started


def test_a_source_of_credentials_that_hangs_stops_only_what_needs_kms(
    program: Program, settings: Settings, kms_endpoint: KmsEndpoint
) -> None:
    program.hand_out(12)
    without = settings.model_copy(update={"aws_access_key_id": None, "aws_secret_access_key": None})
    with serving(without, kms_endpoint) as service:
        assert service.create("alice").status_code == 201
        program.hang()
        # Those at hand are good still: nobody waits, whatever the program does.
        assert _time(service, "GET", "/wallets/alice/private-key")[0] == 200
        wait_until(lambda: service.client.get("/readyz").status_code == 503)
        assert service.client.get("/readyz").json()["checks"]["kms"].startswith("no credentials: ")
        # What needs KMS fails at once, and nothing else does.
        status, seconds = _time(service, "GET", "/wallets/alice/private-key")
        assert (status, seconds < 8) == (503, True)
        status, seconds = _time(service, "GET", "/wallets/alice")
        assert (status, seconds < 8) == (200, True)
        program.hand_out(3600)
        wait_until(lambda: service.client.get("/readyz").status_code == 200)
        assert _time(service, "GET", "/wallets/alice/private-key")[0] == 200
