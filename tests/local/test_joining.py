"""`kms-service --local COMMAND`: on a running session, on the data of an ended one, and on none."""

import io
import json
import os
import re
import shlex
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from commands import Run, in_process
from event_loop import complete
from kms_service.access.scopes import Scope
from kms_service.local.joining import join
from kms_service.settings import load_settings
from laptop_session import HOSTILE, Session, session
from wiring import TESTER, holder, invented_token, running_services

RUNBOOKS = Path(__file__).parents[2] / "deploy/runbooks"
KEY = "Empressa-wallet-key-1"
# What answers by 1 here, and its words: most pages begin with something that is wrong, and here nothing is.
# A rotation that a page starts, the session's own worker may have ended before its next line is typed.
NO = {
    ("pool", "retire"): "Not safe to disable",
    ("pool", "create-aliases"): "is a single-Region key of us-east-1",
    **{
        ("rotation", act): "there is no rotation yet|The rotation has ended|no rotation is running"
        for act in ("pause", "resume", "cancel", "run", "status")
    },
}
# The first does not end. The others are about a second Region, and the session's keys are in one.
NOT_HERE = ({"serve"}, {"verify", "--region"})


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    folder = tmp_path_factory.mktemp("a clone")
    (folder / ".env").write_text("KMS_KEY_ALIAS_PREFIX=from-env-file\nKMS_KEY_POOL_SIZE=3\n")
    with session(folder / ".local") as begun:
        for name in ("alice", "bob", "user-0042"):
            assert begun.call("PUT", f"/wallets/{name}").status_code == 201
        # What the pages take for granted: a policy that is in force, and CloudTrail's files.
        shutil.copy(RUNBOOKS.parent / "policies/checkout.json", folder)
        (folder / "trail").symlink_to(folder / ".local/cloudtrail")
        yield begun


@pytest.fixture
def run(running: Session, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `kms-service` in a second terminal, whose environment points at somebody's production."""
    for name, value in HOSTILE.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(running.folder.parent)
    return in_process(monkeypatch, capsys)


def commands_of(page: Path) -> list[list[str]]:
    """The commands of a page's blocks, in its order, without what their output is piped into."""
    blocks = re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL)
    lines = [line for block in blocks for line in re.findall(r"kms-service ([^|)>\n]+)", block)]
    commands = [shlex.split(line.replace("$KEY", KEY), comments=True) for line in lines if "…" not in line]
    return [words for words in commands if not any(each <= {*words} for each in NOT_HERE)]


PAGES = {page.stem: commands for page in sorted(RUNBOOKS.glob("*.md")) if (commands := commands_of(page))}


@pytest.mark.parametrize("page", PAGES)
def test_each_runbooks_commands_work_on_the_session(
    running: Session, run: Run, page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))  # to what asks before it acts
    if page.startswith("policy"):
        assert run("--local", "policy", "set", "checkout", "checkout.json").code == 0
    for words in PAGES[page]:
        if words[:2] == ["token", "revoke"]:
            run("--local", "token", "create", words[2], "--scope", "pool:read")  # the caller that it is about
        done = run("--local", *(word.replace("http://127.0.0.1:3001", running.url) for word in words))
        refused = NO.get((words[0], words[1] if words[1:] else ""), "nothing")
        assert done.code == 0 or (done.code == 1 and re.search(refused, done.out + done.err)), (words, done)


def test_the_printed_line_joins_from_anywhere(running: Session, tmp_path: Path) -> None:
    (line,) = (line.strip() for line in running.printed.splitlines() if line.endswith(" pool status"))
    done = subprocess.run(  # noqa: S603 - printed by us
        ["/bin/sh", "-c", f"{line} --json"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=HOSTILE,
        check=True,
    )
    assert sum(key["wallets"] for key in json.loads(done.stdout)["keys"]) == 3
    assert "Using the laptop session in" in done.stderr


def test_the_variable_of_the_folder_is_enough_to_join(
    running: Session, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KMS_SERVICE_LOCAL_DIR", str(running.folder))
    before = dict(os.environ)
    assert len(run("pool", "status", "--json").facts["keys"]) == 10  # not the 3 of the .env beside the folder
    assert dict(os.environ) == before


def test_where_no_session_is_a_command_says_so(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("--local", "pool", "status")
    assert done.code == 69
    assert "start one with kms-service local" in done.err
    assert list(tmp_path.iterdir()) == []


def test_help_needs_no_session(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("--local", "pool", "status", "--help").code == 0


def test_the_file_that_joins_is_private(running: Session) -> None:
    assert stat.S_IMODE((running.folder / "session.json").stat().st_mode) == 0o600


@dataclass(frozen=True, slots=True)
class Killed:
    """A killed session: its folder, alice's private key, and whether the file that joins it was left."""

    folder: Path
    private_key: str
    told: bool

    @property
    def token(self) -> Path:
        """The file with the development token."""
        return self.folder / "token"


@pytest.fixture(scope="module")
def killed(running: Session) -> Killed:
    """For the last tests: the session is killed, and all that it had started has ended."""
    key = running.call("GET", "/wallets/alice/private-key").json()["privateKey"]
    running.end(signal.SIGKILL)
    return Killed(running.folder, key, (running.folder / "session.json").exists())


def test_on_the_data_of_an_ended_session_the_servers_run_for_the_command(killed: Killed, run: Run) -> None:
    """A killed one leaves its file behind, which no longer counts."""
    assert killed.told
    done = run("--local", "wallet", "list", "--json")
    assert done.code == 0
    assert "Using the data of the laptop session" in done.err
    assert {json.loads(line)["userId"] for line in done.out.splitlines()} >= {"alice", "bob"}
    assert not (killed.folder / "session.json").exists()
    assert not any(str(killed.folder) in line for line in _command_lines())


def test_a_killed_session_leaves_nothing_running_and_nothing_lost(killed: Killed) -> None:
    assert not any(str(killed.folder) in line for line in _command_lines())
    unknown = invented_token()
    killed.token.write_text(unknown + "\n")  # as after a database made anew
    with join(killed.folder) as running, running_services(load_settings(None)) as services:
        assert not running
        made = killed.token.read_text().strip()
        assert made != unknown
        assert holder(services, made).scopes >= {*Scope}
        key = complete(services.wallets.get_private_key_for_user(TESTER, "alice")).private_key
    assert f"0x{key.reveal().hex()}" == killed.private_key


def _command_lines() -> Iterator[str]:
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # it ends just now
            yield " ".join(child.cmdline())
