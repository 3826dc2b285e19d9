"""`kms-service local` as its user starts it."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil

HOSTILE = {
    "AWS_PROFILE": "production",
    "AWS_ENDPOINT_URL_KMS": "http://127.0.0.1:9",
    "AWS_ACCESS_KEY_ID": "AKIAREAL",
    "AWS_SECRET_ACCESS_KEY": "real-secret",
    "DATABASE_SECRET_ID": "production/kms-service",
    "DATABASE_URL": "postgresql://nobody@127.0.0.1:9/production",
}


class Session:
    """One `kms-service local` process, and what it printed until it was ready.

    What the service logs goes into `service.log` beside the folder.
    """

    def __init__(self, folder: Path, **environ: str) -> None:
        self.folder = folder
        with (folder.parent / "service.log").open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603 - our own command
                [sys.executable, "-m", "kms_service", "local", "--folder", str(folder)],
                stdout=log,
                stderr=subprocess.PIPE,
                text=True,
                cwd=folder.parent,
                env={**os.environ, "PORT": "0", **HOSTILE, **environ},
            )
        self.printed = self._read_until("Ctrl-C stops everything")
        self.url = self._find(r"(http://\S+:\d+)/docs")
        self.children = psutil.Process(self.process.pid).children(recursive=True)

    def _read_until(self, text: str) -> str:
        assert self.process.stderr is not None
        printed = ""
        for line in self.process.stderr:
            printed += line
            if text in line:
                return printed
        self.process.communicate()
        raise AssertionError(printed)

    def _find(self, pattern: str) -> str:
        found = re.search(pattern, self.printed)
        assert found, self.printed
        return found[1]

    def call(self, method: str, path: str) -> httpx.Response:
        token = (self.folder / "token").read_text().strip()
        return httpx.request(
            method, self.url + path, headers={"Authorization": f"Bearer {token}"}, timeout=60
        )

    def end(self, how: signal.Signals) -> int:
        """Send a signal, and return the exit code once every child is gone."""
        self.process.send_signal(how)
        self.process.communicate(timeout=60)
        _, alive = psutil.wait_procs(self.children, timeout=60)
        assert alive == []
        return self.process.returncode


@contextmanager
def session(folder: Path, **environ: str) -> Iterator[Session]:
    running = Session(folder, **environ)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.end(signal.SIGTERM)
