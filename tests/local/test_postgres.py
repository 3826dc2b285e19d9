"""The laptop mode's PostgreSQL: real servers in temporary folders."""

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from kms_service.local.errors import LocalError
from kms_service.local.postgres import PostgresServer, postgres
from waiting import wait_until

FAST = {"fsync": "off"}
SERVE = """
import signal, sys
from pathlib import Path
from kms_service.local.postgres import postgres
with postgres(Path(sys.argv[1]), {"fsync": "off"}) as server:
    print(server.pid, flush=True)
    signal.pause()
"""


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a server has run once."""
    folder = tmp_path_factory.mktemp("pristine")
    with postgres(folder, FAST):
        pass
    return folder


@pytest.fixture
def folder(pristine: Path, tmp_path: Path) -> Path:
    """A copy of it, the owners too: making a cluster takes ten times as long."""
    copy = tmp_path / "a folder" / "local"
    copy.parent.mkdir()
    subprocess.run(["cp", "-a", str(pristine), str(copy)], check=True)  # noqa: S603, S607 - every system has cp
    return copy


@pytest.fixture
def server(folder: Path) -> Iterator[PostgresServer]:
    with postgres(folder, FAST) as running:
        yield running


def running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_data_and_password_last_over_restarts(folder: Path) -> None:
    with postgres(folder, FAST) as first:
        first.ensure_database("kept")
        with psycopg.connect(first.url("kept")) as connection:
            connection.execute("CREATE TABLE t AS SELECT 42 AS n")
    with postgres(folder, FAST) as second:
        second.ensure_database("kept")
        with psycopg.connect(second.url("kept")) as connection:
            assert connection.execute("SELECT n FROM t").fetchone() == (42,)
    assert first.password == second.password
    assert not running(first.pid)
    assert not running(second.pid)


def test_no_one_enters_without_the_password(server: PostgresServer) -> None:
    wrong = server.url("postgres").replace(server.password, "wrong")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(wrong)


def test_listens_on_loopback_only(server: PostgresServer) -> None:
    listening = [c.laddr.ip for c in psutil.Process(server.pid).net_connections() if c.status == "LISTEN"]
    assert listening == ["127.0.0.1"]


def test_password_is_private_and_not_printed(server: PostgresServer, folder: Path) -> None:
    mode = stat.S_IMODE((folder / "postgres-password").stat().st_mode)
    assert mode == 0o600
    assert server.password not in repr(server)
    assert server.password not in " ".join(psutil.Process(server.pid).cmdline())
    assert server.password not in (folder / "postgres.log").read_text()
    assert len(server.password) == 48


def test_server_gets_no_credential_of_its_starter(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-for-postgres")
    with postgres(folder, FAST) as running:
        assert "not-for-postgres" not in psutil.Process(running.pid).environ().values()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has privileges to give up")
def test_root_starts_a_server_that_is_not_root_and_opens_no_folder(folder: Path) -> None:
    closed = folder.parent.parent
    closed.chmod(0o700)
    with postgres(folder, FAST) as running:
        assert psutil.Process(running.pid).uids().real != 0
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


def test_one_folder_belongs_to_one_process(server: PostgresServer, folder: Path) -> None:  # noqa: ARG001 - it holds the folder
    with pytest.raises(LocalError, match="in use by another process"), postgres(folder, FAST):
        pass


def start_in_child(folder: Path) -> tuple[subprocess.Popen[str], int]:
    child = subprocess.Popen([sys.executable, "-c", SERVE, str(folder)], stdout=subprocess.PIPE, text=True)  # noqa: S603 - a constant
    assert child.stdout is not None
    return child, int(child.stdout.readline())


def test_server_stops_when_its_starter_is_killed(folder: Path) -> None:
    child, pid = start_in_child(folder)
    child.kill()
    child.communicate()
    wait_until(lambda: not running(pid))


def test_starts_again_after_a_killed_server(folder: Path) -> None:
    with postgres(folder, FAST) as first:
        first.ensure_database("kept")
        os.kill(first.pid, signal.SIGKILL)
        wait_until(lambda: not running(first.pid))
    assert (folder / "postgres" / "postmaster.pid").exists()
    with postgres(folder, FAST) as second, psycopg.connect(second.url("kept")):
        pass


def test_a_stale_pid_that_belongs_to_another_process_now_does_not_matter(folder: Path) -> None:
    (folder / "postgres" / "postmaster.pid").write_text(f"{os.getppid()}\n{folder}\n")
    with postgres(folder, FAST) as running:
        assert psutil.pid_exists(os.getppid())
        assert psutil.pid_exists(running.pid)


def test_a_server_left_running_is_stopped_first(folder: Path) -> None:
    with postgres(folder, FAST) as first:
        (folder / "postgres.lock").unlink()  # as after the death of a starter that could not take it along
        with postgres(folder, FAST) as second:
            assert not running(first.pid)
            assert second.pid != first.pid


def test_an_interrupted_creation_is_begun_anew(tmp_path: Path) -> None:
    folder = tmp_path / "local"
    (folder / "postgres.unfinished").mkdir(parents=True)
    (folder / "postgres.unfinished" / "half").write_text("written")
    with postgres(folder, FAST):
        assert not (folder / "postgres.unfinished").exists()


def test_data_of_another_major_version_is_refused_in_one_line(folder: Path) -> None:
    (folder / "postgres" / "PG_VERSION").write_text("15\n")
    with (
        pytest.raises(LocalError, match=r"made by PostgreSQL 15, installed is 18") as caught,
        postgres(folder),
    ):
        pass
    assert "\n" not in str(caught.value)


def test_a_lost_password_is_reported_in_one_line(folder: Path) -> None:
    (folder / "postgres-password").unlink()
    with pytest.raises(LocalError, match="postgres-password is missing"), postgres(folder, FAST):
        pass


def test_a_server_that_cannot_start_says_why(folder: Path) -> None:
    with (
        pytest.raises(LocalError, match=r"did not start: .*shared_buffers"),
        postgres(folder, {"shared_buffers": "many"}),
    ):
        pass
