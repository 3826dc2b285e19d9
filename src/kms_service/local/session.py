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
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from kms_service.local import tether
from kms_service.local.errors import LocalError
from kms_service.local.kms_standin import KmsEndpoint, kms_standin
from kms_service.local.postgres import postgres

if TYPE_CHECKING:
    from kms_service.settings import Settings

_READY_SECONDS = 30.0
_STOP_SECONDS = 15.0  # more than the service gives its requests in flight
_ANYWHERE = {"0.0.0.0", "::"}  # noqa: S104 - compared, not bound

Say = Callable[[str], None]


class _Stopped(BaseException):
    """A signal asked to stop; no handler of errors may take it for one."""


def run(folder: Path, say: Say) -> int:
    """Start everything, serve until a signal comes, stop everything; answer the exit code.

    Data, keys and the development token lie in `folder` and last; a second start finds them. Settings come
    from the environment, except those of AWS and PostgreSQL; `.env` is not read, so that real credentials and
    stand-ins never mix. `say` is given the lines for the user.

    Raises:
        LocalError: something could not be started.
    """
    folder = folder.resolve()
    _forget_aws()
    with contextlib.suppress(_Stopped), _stop_on_signals(), contextlib.ExitStack() as stack:
        started = time.monotonic()
        say("Starting PostgreSQL and the KMS stand-in ...")
        # Loads the service's libraries, more than a second's work, while the servers start.
        threading.Thread(target=import_module, args=("kms_service.local.preparation",), daemon=True).start()
        server = stack.enter_context(postgres(folder))
        kms = stack.enter_context(kms_standin(folder))
        say("Preparing database, keys and token ...")
        from kms_service.local.preparation import prepare  # noqa: PLC0415 - see above

        settings = prepare(server, kms, folder)
        say("Starting the service ...")
        service = stack.enter_context(_service(settings, kms, folder))
        _wait_until_ready(service, settings)
        say(_invitation(settings, folder, time.monotonic() - started))
        return service.wait()
    say("Stopped.")
    return 0


@contextlib.contextmanager
def _service(settings: "Settings", kms: KmsEndpoint, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run `kms-service serve` as a child; at the end let it finish its requests."""
    process = tether.start(
        [sys.executable, "-m", "kms_service", "serve"],
        on_parent_death=signal.SIGTERM,
        account=None,
        workspace=folder,  # where no .env is
        environ={
            **os.environ,
            **kms.environ(),
            "DATABASE_URL": settings.database_url.get_secret_value(),
            "PORT": str(settings.port),
        },
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


def _forget_aws() -> None:
    """Drop AWS's variables and files from this process and its children: none can reach the real AWS."""
    for name in [name for name in os.environ if name.upper().startswith("AWS_")]:
        del os.environ[name]
    os.environ.update(
        AWS_CONFIG_FILE=os.devnull, AWS_SHARED_CREDENTIALS_FILE=os.devnull, AWS_EC2_METADATA_DISABLED="true"
    )


def _wait_until_ready(service: subprocess.Popen[bytes], settings: "Settings") -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while not _answers_ready(_reachable(settings.host), settings.port):
        code = service.poll()
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


def _invitation(settings: "Settings", folder: Path, seconds: float) -> str:
    host = _reachable(settings.host)
    url = f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"
    token = f'-H "Authorization: Bearer $(cat {shlex.quote(str(folder / "token"))})"'
    docs = f"Documentation: {url}/docs\n" if settings.docs_enabled else ""
    console = f"Operator page: {url}/console\n" if settings.console_enabled else ""
    return (
        f"\nkms-service is ready after {seconds:.1f} s. Try:\n\n"
        f"  curl -X PUT {token} {url}/wallets/alice\n"
        f"  curl {token} {url}/wallets/alice/private-key\n"
        f"  curl {token} {url}/wallets\n\n"
        f"{docs}{console}Data, keys and token: {folder}\nCtrl-C stops everything.\n"
    )


def _reachable(host: str) -> str:
    return "127.0.0.1" if host in _ANYWHERE else host


@contextlib.contextmanager
def _stop_on_signals() -> Iterator[None]:
    """Turn the first Ctrl-C, SIGTERM or SIGHUP into `_Stopped`; later ones must not disturb the stopping."""
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def stop(number: int, frame: FrameType | None) -> None:
        del number, frame
        for each in signals:
            signal.signal(each, signal.SIG_IGN)
        raise _Stopped

    before = {each: signal.signal(each, stop) for each in signals}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
