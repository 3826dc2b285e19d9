"""The KMS stand-in as a child process, for laptops and tests."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kms_service.local import tether
from kms_service.local.errors import LocalError

REGION = "us-east-1"
_STOP_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class KmsEndpoint:
    """A running stand-in."""

    url: str
    pid: int

    def environ(self) -> dict[str, str]:
        """Answer the variables that make boto3 use it: endpoint, Region, credentials that open nothing."""
        return {
            "AWS_ENDPOINT_URL_KMS": self.url,
            "AWS_REGION": REGION,
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
        }


@contextlib.contextmanager
def kms_standin(folder: Path) -> Iterator[KmsEndpoint]:
    """Run a stand-in on loopback, on a free port, for as long as the context lasts.

    Its keys are in `folder/kms-keys.json` (mode 0600) and outlast it. If this process is killed, it stops.

    Raises:
        LocalError: it did not start.
    """
    process = tether.start(
        [sys.executable, "-m", "kms_service.local.kms_server", "--keys", folder.resolve() / "kms-keys.json"],
        on_parent_death=signal.SIGTERM,
        account=None,
        workspace=folder.resolve(),
        environ=os.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        try:
            yield KmsEndpoint(_announced_url(process), process.pid)
        finally:
            _stop(process)


def _announced_url(process: subprocess.Popen[bytes]) -> str:
    if process.stdout is None or process.stderr is None:
        raise AssertionError
    url = process.stdout.readline().decode().strip()
    if not url:
        reason = process.stderr.read().decode(errors="replace").strip().splitlines()
        raise LocalError(f"the KMS stand-in did not start: {(reason or ['no output'])[-1]}")
    return url


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
