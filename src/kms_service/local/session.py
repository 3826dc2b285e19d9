"""The laptop mode: the real service on real PostgreSQL and the KMS stand-in, in one folder."""

import contextlib
import http.client
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from kms_service.laptop import LOCAL_FOLDER_VARIABLE
from kms_service.local import tether
from kms_service.local.errors import LocalError
from kms_service.local.joining import Servers, forget_aws, servers

if TYPE_CHECKING:
    from kms_service.settings import Settings

_READY_SECONDS = 30.0
_STOP_SECONDS = 15.0  # more than the service gives its requests in flight
_ANYWHERE = {"0.0.0.0", "::"}  # noqa: S104 - compared, not bound

Say = Callable[[str], None]


class Stopped(BaseException):
    """A signal asked to stop; not an Exception, so that no error handler catches it."""


@dataclass(frozen=True, slots=True)
class Session:
    """A session that is serving."""

    servers: Servers
    settings: "Settings"
    service: subprocess.Popen[bytes]

    @property
    def folder(self) -> Path:
        """Where its data, keys and token are."""
        return self.servers.folder

    @property
    def url(self) -> str:
        """Where the service answers."""
        host = _reachable(self.settings.host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.settings.port}"


def run(folder: Path, say: Say) -> int:
    """Start everything, serve until a signal comes, stop everything; return the exit code.

    Data, keys and the development token stay in `folder`; the next start finds them. Settings come from the
    environment, except those for AWS and PostgreSQL; `.env` is not read, so that real credentials and
    stand-ins never mix. `say` gets the lines for the user.

    Raises:
        LocalError: something could not be started.
        And what `preparation.prepare` raises.
    """
    started = time.monotonic()
    with contextlib.suppress(Stopped), stop_on_signals(), serving(folder, say) as session:
        say(_invitation(session, time.monotonic() - started))
        return session.service.wait()
    say("Stopped.")
    return 0


@contextlib.contextmanager
def serving(folder: Path, say: Say) -> Iterator[Session]:
    """Serve on the data in `folder` for as long as the context lasts; commands in other terminals can join.

    Raises:
        LocalError: something could not be started.
        And what `preparation.prepare` raises.
    """
    folder = folder.resolve()
    forget_aws()
    os.environ.setdefault("CONSOLE_ENABLED", "true")
    say("Starting PostgreSQL and the KMS stand-in ...")
    # Loads the service's libraries, more than a second's work, while the servers start.
    threading.Thread(target=import_module, args=("kms_service.local.preparation",), daemon=True).start()
    with servers(folder) as found:
        say("Preparing database, keys and token ...")
        from kms_service.local.preparation import prepare, usable_port  # noqa: PLC0415 - see above

        settings = prepare(found)
        port = usable_port(settings.host, settings.port)
        settings = settings.model_copy(update={"port": port})
        environ = found.environ(settings)
        say("Starting the service ...")
        with _service(folder, {**environ, "PORT": str(port)}) as service:
            session = Session(found, settings, service)
            _wait_until_ready(session)
            found.tell(environ, session.url)
            yield session


@contextlib.contextmanager
def _service(folder: Path, environ: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run `kms-service serve` as a child; at the end let it finish its requests."""
    inherited = {name: value for name, value in os.environ.items() if name != LOCAL_FOLDER_VARIABLE}
    process = tether.start(
        [sys.executable, "-m", "kms_service", "serve"],
        on_parent_death=signal.SIGTERM,
        account=None,
        workspace=folder,  # where no .env is
        environ={**inherited, **environ},
        stdout=None,
        stderr=None,
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(session: Session) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while not _answers_ready(_reachable(session.settings.host), session.settings.port):
        code = session.service.poll()
        if code is not None:
            raise LocalError(f"the service stopped with exit code {code}: its last lines above say why")
        if time.monotonic() > deadline:
            raise LocalError(f"the service is not ready after {_READY_SECONDS:.0f} s")
        time.sleep(0.05)


def _answers_ready(host: str, port: int) -> bool:
    with contextlib.closing(http.client.HTTPConnection(host, port, timeout=2)) as connection:
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False


def _invitation(session: Session, seconds: float) -> str:
    url, folder = session.url, session.folder
    token = f'-H "Authorization: Bearer $(cat {shlex.quote(str(folder / "token"))})"'
    docs = f"Documentation: {url}/docs\n" if session.settings.docs_enabled else ""
    console = f"Operator page: {url}/console\n" if session.settings.console_enabled else ""
    return (
        f"\nkms-service is ready after {seconds:.1f} s. Try in another terminal:\n\n"
        f"  curl -X PUT {token} {url}/wallets/alice\n"
        f"  curl {token} {url}/wallets/alice/private-key\n"
        f"  curl {token} {url}/wallets\n\n"
        f"and any command, with --local:\n\n"
        f"  {_describe_joining(folder)} pool status\n\n"
        f"{docs}{console}Data, keys and token: {folder}\nCtrl-C stops everything.\n"
    )


def _describe_joining(folder: Path) -> str:
    """The words that begin a command which joins, in whatever folder the other terminal is."""
    program = Path(sys.argv[0])
    program = Path(sys.executable).parent / "kms-service" if program.name == "__main__.py" else program
    return f"{LOCAL_FOLDER_VARIABLE}={shlex.quote(str(folder))} {shlex.quote(str(program))} --local"


def _reachable(host: str) -> str:
    return "127.0.0.1" if host in _ANYWHERE else host


@contextlib.contextmanager
def stop_on_signals() -> Iterator[None]:
    """Turn the first Ctrl-C, SIGTERM or SIGHUP into `Stopped`; later ones must not disturb the stopping."""
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def stop(number: int, frame: FrameType | None) -> None:
        del number, frame
        for each in signals:
            signal.signal(each, signal.SIG_IGN)
        raise Stopped

    before = {each: signal.signal(each, stop) for each in signals}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
