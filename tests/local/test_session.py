"""`kms-service local` as its user meets it: started, used, stopped, started again."""

import os
import re
import shutil
import signal
import socket
import stat
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from commands import Done, in_process
from laptop_session import Session, session


@dataclass(frozen=True, slots=True)
class Day:
    """What a first run left: its folder and its answers."""

    folder: Path
    wallet: dict[str, str]
    private_key: dict[str, str]
    token: str


@pytest.fixture(scope="module")
def yesterday(tmp_path_factory: pytest.TempPathFactory) -> Day:
    """A first run in a folder with a hostile `.env` beside it, ended by Ctrl-C."""
    clone = tmp_path_factory.mktemp("a clone")
    (clone / ".env").write_text("KMS_KEY_ALIAS_PREFIX=from-env-file\nAWS_SESSION_TOKEN=real\n")
    folder = clone / "it's .local"
    with session(folder) as first:
        wallet = first.call("PUT", "/wallets/alice")
        private_key = first.call("GET", "/wallets/alice/private-key")
        assert wallet.status_code == 201
        assert first.end(signal.SIGINT) == 0
    return Day(folder, wallet.json(), private_key.json(), (folder / "token").read_text())


@pytest.fixture(scope="module")
def today(yesterday: Day) -> Iterator[Session]:
    """A second run in the same folder, ended as a service manager ends it."""
    with session(yesterday.folder) as second:
        yield second
        assert second.end(signal.SIGTERM) == 0


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for sessions that do not come to serve."""
    return tmp_path_factory.mktemp("elsewhere") / ".local"


Start = Callable[..., Done]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Start]:
    """Runs a `kms-service local` in this process, which is expected to end by itself."""
    run, before = in_process(monkeypatch, capsys), dict(os.environ)

    def start(folder: Path, **environ: str) -> Done:
        os.environ.update(environ)
        return run("local", "--folder", str(folder))

    yield start
    os.environ.clear()
    os.environ.update(before)


def test_keys_are_those_of_the_settings_and_not_of_env_file(yesterday: Day) -> None:
    aliases = set(re.findall(r"alias/[\w-]+", (yesterday.folder / "kms-keys.json").read_text()))
    assert aliases == {f"alias/Empressa-wallet-key-{n}" for n in range(1, 11)}


def test_yesterdays_wallet_and_token_are_good_today(yesterday: Day, today: Session) -> None:
    assert (yesterday.folder / "token").read_text() == yesterday.token
    assert today.call("PUT", "/wallets/alice").json() == yesterday.wallet
    assert today.call("GET", "/wallets/alice/private-key").json() == yesterday.private_key


@pytest.mark.skipif(shutil.which("curl") is None, reason="the printed lines are for curl")
def test_printed_lines_work_when_pasted(today: Session) -> None:
    lines = [line.strip() for line in today.printed.splitlines() if line.strip().startswith("curl ")]
    answers = [paste(f"{line} --silent --fail") for line in lines]
    assert len(lines) == 3
    assert all('"walletAddress":"0x' in answer for answer in answers)
    assert '"privateKey":"0x' in answers[1]


def paste(line: str) -> str:
    """What a printed line answers in a shell."""
    done = subprocess.run(  # noqa: S603 - printed by us
        ["/bin/sh", "-c", line], capture_output=True, text=True, check=True
    )
    return done.stdout


def test_secrets_are_in_private_files_and_not_shown(today: Session) -> None:
    secrets = [(today.folder / name).read_text().strip() for name in ("token", "postgres-password")]
    assert not any(secret in today.printed for secret in secrets)
    for name in ("token", "postgres-password", "kms-keys.json", "postgres.log"):
        assert stat.S_IMODE((today.folder / name).stat().st_mode) == 0o600


def test_a_folder_has_one_session(today: Session, start: Start) -> None:
    again = start(today.folder)
    assert (again.code, again.out) == (69, "")
    assert "in use by another process" in again.err.splitlines()[-1]
    assert today.call("GET", "/readyz").status_code == 200


def test_a_taken_port_is_reported_and_nothing_is_left_running(elsewhere: Path, start: Start) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = start(elsewhere, PORT=str(port))
    assert done.code == 69
    assert f"cannot listen on 127.0.0.1, port {port}" in done.err.splitlines()[-1]
    running = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    assert not any(str(elsewhere) in line for line in running)


def test_a_wrong_setting_is_reported(elsewhere: Path, start: Start) -> None:
    done = start(elsewhere, KMS_KEY_POOL_SIZE="many")
    assert done.code == 78
    assert "KMS_KEY_POOL_SIZE" in done.err
