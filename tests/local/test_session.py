"""`kms-service local` as its user meets it: started, used, stopped, killed, started again."""

import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

HOSTILE = {
    "AWS_PROFILE": "production",
    "AWS_ENDPOINT_URL_KMS": "http://127.0.0.1:9",
    "AWS_ACCESS_KEY_ID": "AKIAREAL",
    "AWS_SECRET_ACCESS_KEY": "real-secret",
    "DATABASE_URL": "postgresql://nobody@127.0.0.1:9/production",
}


class Session:
    """One `kms-service local` process, and what it printed until it was ready."""

    def __init__(self, folder: Path, **environ: str) -> None:
        self.folder = folder
        self.process = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-m", "kms_service", "local", "--folder", str(folder)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            cwd=folder.parent,
            env={**os.environ, "PORT": "0", **HOSTILE, **environ},
        )
        self.printed = self._read_until("Ctrl-C stops everything")
        self.url = self._found(r"(http://\S+:\d+)/docs")
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

    def _found(self, pattern: str) -> str:
        found = re.search(pattern, self.printed)
        assert found, self.printed
        return found[1]

    def call(self, method: str, path: str) -> httpx.Response:
        token = (self.folder / "token").read_text().strip()
        return httpx.request(
            method, self.url + path, headers={"Authorization": f"Bearer {token}"}, timeout=15
        )

    def end(self, how: signal.Signals) -> int:
        """Send a signal; answer the exit code once every child is gone."""
        self.process.send_signal(how)
        self.process.communicate(timeout=30)
        _, alive = psutil.wait_procs(self.children, timeout=15)
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


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    parent = tmp_path_factory.mktemp("a clone")
    (parent / ".env").write_text("KMS_KEY_ALIAS_PREFIX=from-env-file\nAWS_SESSION_TOKEN=real\n")
    return parent / "it's .local"


def pasted(line: str) -> str:
    """Run a printed line in a shell, as a user would."""
    done = subprocess.run(["/bin/sh", "-c", line], capture_output=True, text=True, check=True)  # noqa: S603 - printed by us
    return done.stdout


def test_wallets_keys_and_token_outlive_a_stop_and_a_kill(folder: Path) -> None:
    with session(folder) as first:
        made = first.call("PUT", "/wallets/alice")
        released = first.call("GET", "/wallets/alice/private-key").json()
        token = (folder / "token").read_text()
        pool = {
            made.json()["kmsRegion"],
            *re.findall(r"alias/\S+(?=\")", (folder / "kms-keys.json").read_text()),
        }
        assert made.status_code == 201
        assert first.end(signal.SIGINT) == 0
    assert pool == {"us-east-1", *(f"alias/Empressa-wallet-key-{n}" for n in range(1, 11))}

    with session(folder) as second:
        assert second.call("PUT", "/wallets/alice").json() == made.json()
        assert second.call("GET", "/wallets/alice/private-key").json() == released
        second.end(signal.SIGKILL)

    with session(folder) as third:
        assert third.call("GET", "/wallets/alice/private-key").json() == released
        assert third.end(signal.SIGTERM) == 0
    assert (folder / "token").read_text() == token


@pytest.mark.skipif(shutil.which("curl") is None, reason="the printed lines are for curl")
def test_printed_lines_work_when_pasted_and_show_no_secret(folder: Path) -> None:
    with session(folder) as running:
        lines = [line.strip() for line in running.printed.splitlines() if line.strip().startswith("curl ")]
        answers = [pasted(f"{line} --silent --fail") for line in lines]
        assert len(lines) == 3
        assert all('"walletAddress":"0x' in answer for answer in answers)
        assert '"privateKey":"0x' in answers[1]

        again = subprocess.run(  # noqa: S603 - our own command
            [sys.executable, "-m", "kms_service", "local", "--folder", str(folder)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert again.returncode == 69
        assert "in use by another process" in again.stderr
        assert "Traceback" not in again.stderr
        assert running.call("GET", "/readyz").status_code == 200

    secrets = [(folder / name).read_text().strip() for name in ("token", "postgres-password")]
    assert not any(secret in running.printed for secret in secrets)
    for name in ("token", "postgres-password", "kms-keys.json", "postgres.log"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600


def test_a_token_that_the_database_does_not_know_is_replaced(folder: Path) -> None:
    (folder / "token").write_text("kms_" + "A" * 43 + "\n")
    with session(folder) as running:
        assert running.call("GET", "/wallets").status_code == 200


def test_a_taken_port_ends_it_and_leaves_nothing_running(folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = subprocess.run(  # noqa: S603 - our own command
            [sys.executable, "-m", "kms_service", "local", "--folder", str(folder)],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PORT": str(taken.getsockname()[1])},
        )
    assert done.returncode == 69
    assert "the service stopped with exit code" in done.stderr
    assert "Traceback" not in done.stderr
    assert not any(str(folder) in " ".join(p.info["cmdline"] or []) for p in psutil.process_iter(["cmdline"]))


def test_a_wrong_setting_is_named(folder: Path) -> None:
    done = subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-m", "kms_service", "local", "--folder", str(folder)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "KMS_KEY_POOL_SIZE": "many"},
    )
    assert done.returncode == 78
    assert "KMS_KEY_POOL_SIZE" in done.stderr
