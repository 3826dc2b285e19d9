"""What commands in other terminals work with: the running session, or the data that it left.

The process that runs the servers holds `session.lock`, and says in `session.json` (mode 0600) where they are.
"""

import contextlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kms_service.laptop import LOCAL_FOLDER_VARIABLE
from kms_service.local.errors import LocalError
from kms_service.local.files import exclusive, write_private
from kms_service.local.kms_standin import KmsStandin, kms_standin
from kms_service.local.postgres import PostgresServer, postgres

if TYPE_CHECKING:  # it loads pydantic, which the session begins without
    from kms_service.settings import Settings

_SESSION = "session.json"
_BEGIN_SECONDS = 60.0
_AWS = ("AWS_", "DATABASE_SECRET_ID", "DATABASE_IAM_AUTH")


@dataclass(frozen=True, slots=True)
class Servers:
    """A PostgreSQL and a KMS stand-in on the data of one folder."""

    folder: Path
    postgres: PostgresServer
    kms: KmsStandin

    @property
    def heads(self) -> Path:
        """Where heads of audit chains are kept, out of the database."""
        return self.folder / "heads"

    def environ(self, settings: "Settings") -> dict[str, str]:
        """The variables that point a process at them; a secret, since they hold the database's password."""
        return {
            **self.kms.environ(),
            "DATABASE_URL": settings.database_url.get_secret_value(),
            "AUDIT_HEADS_URL": str(self.heads),
        }

    def tell(self, environ: Mapping[str, str], url: str | None) -> None:
        """Let commands in other terminals join: they use these variables, and the service is at `url`."""
        write_private(self.folder / _SESSION, json.dumps({"environ": dict(environ), "url": url}))


@contextlib.contextmanager
def servers(folder: Path) -> Iterator[Servers]:
    """Run PostgreSQL and the KMS stand-in on `folder` while the context lasts; no other process can.

    Raises:
        LocalError: they run already, or did not start.
    """
    folder.mkdir(mode=0o711, parents=True, exist_ok=True)
    told = folder / _SESSION
    with exclusive(folder / "session.lock"):
        told.unlink(missing_ok=True)  # of a session that was killed
        with postgres(folder) as database, kms_standin(folder) as kms:
            try:
                yield Servers(folder, database, kms)
            finally:
                told.unlink(missing_ok=True)


@contextlib.contextmanager
def join(folder: Path) -> Iterator[bool]:
    """Point this process at the session in `folder` while the context lasts; yields whether one is running.

    If none is, PostgreSQL and the KMS stand-in run on its data until the context ends. The environment's
    variables for AWS and PostgreSQL are replaced by the session's, and `.env` is not read.

    Raises:
        LocalError: there is no session's data in `folder`, or its servers could not be started.
        And what `preparation.prepare` raises, if no session is running.
    """
    folder = folder.resolve()
    if not (folder / "postgres-password").exists():
        raise LocalError(
            f"{folder} has no laptop session: start one with kms-service local, "
            f"or name its folder in {LOCAL_FOLDER_VARIABLE}"
        )
    with _environment(), contextlib.ExitStack() as stack:
        forget_aws()
        os.environ[LOCAL_FOLDER_VARIABLE] = str(folder)
        environ, running = _read_facts(folder), True
        if environ is None:
            environ, running = _prepare(stack.enter_context(servers(folder))), False
        os.environ.update(environ)
        yield running


def forget_aws() -> None:
    """Hide from this process and its children what leads to AWS: variables, files, a database login."""
    for name in [name for name in os.environ if name.upper().startswith(_AWS)]:
        del os.environ[name]
    os.environ.update(
        AWS_CONFIG_FILE=os.devnull, AWS_SHARED_CREDENTIALS_FILE=os.devnull, AWS_EC2_METADATA_DISABLED="true"
    )


def _prepare(found: Servers) -> dict[str, str]:
    from kms_service.local.preparation import prepare  # noqa: PLC0415 - many libraries, seldom needed

    settings = prepare(found)
    environ = found.environ(settings)
    found.tell(environ, None)
    return environ


def _read_facts(folder: Path) -> dict[str, str] | None:
    """The variables of the running session, once it has begun; None if none is running."""
    deadline = time.monotonic() + _BEGIN_SECONDS
    while _is_held(folder / "session.lock"):
        with contextlib.suppress(FileNotFoundError):
            environ: dict[str, str] = json.loads((folder / _SESSION).read_text())["environ"]
            return environ
        if time.monotonic() > deadline:
            raise LocalError(f"the laptop session in {folder} is not ready after {_BEGIN_SECONDS:.0f} s")
        time.sleep(0.05)
    return None


def _is_held(lock: Path) -> bool:
    try:
        with exclusive(lock):
            return False
    except LocalError:
        return True


@contextlib.contextmanager
def _environment() -> Iterator[None]:
    before = dict(os.environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
