"""What is measured and what it needs, on this machine: PostgreSQL, a KMS stand-in, the service's processes.

PostgreSQL has fsync and synchronous commits on. Every process is bound to this one: Ctrl-C stops them in
order, and the kernel stops them if this process is killed.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import psycopg

from benchmarks.keys import REGION, make_account
from kms_service.access.scopes import Caller, Scope
from kms_service.bootstrap import build
from kms_service.local import tether
from kms_service.local.files import write_private
from kms_service.local.kms import state
from kms_service.local.postgres import PostgresServer, postgres
from kms_service.loopback import free_port
from kms_service.settings import Settings, load_settings
from kms_service.store.postgres.migrations import migrate

ROOT = Path(__file__).parents[1]
KEYS = 10
POSTGRES = {"shared_buffers": "512MB", "max_wal_size": "4GB"}
START_SECONDS = 60.0
STOP_SECONDS = 20.0
SCOPES = ("wallets:create", "wallets:read", "wallets:sign", "private-keys:read")

Process = subprocess.Popen[bytes]


@dataclass(frozen=True, slots=True)
class Service:
    """A running service.

    Attributes:
        url: its base URL.
        pid: of the parent of its workers.
        token: with every scope that the scenarios use.
        ready_after: seconds from its command to the first 200 of `GET /readyz`.
    """

    url: str
    pid: int
    token: str
    ready_after: float


@dataclass(frozen=True, slots=True)
class Installation:
    """The service on its own database.

    Attributes:
        database_url: where it is.
        environment: of the commands.
        serving_environment: of the service; other than that of the commands behind TLS.
        folder: for the service's standard error.
    """

    database_url: str
    environment: dict[str, str]
    serving_environment: dict[str, str]
    folder: Path

    def command(self, *words: str, check: bool = True) -> str:
        """Run a command of the service, and return its standard output.

        Raises:
            SystemExit: it failed, and `check` is set.
        """
        arguments = [sys.executable, "-m", "kms_service", *words]
        done = subprocess.run(arguments, env=self.environment, check=False, capture_output=True, text=True)
        if check and done.returncode != 0:
            raise SystemExit(f"kms-service {' '.join(words)}: exit {done.returncode}\n{done.stderr}")
        return done.stdout

    @contextmanager
    def process(self, *words: str, **environment: str) -> Iterator[Process]:
        """A process of the service for as long as the block runs."""
        environment = {**self.serving_environment, **environment}
        with (
            self._errors.open("ab") as errors,
            running("kms_service", *words, environment=environment, stderr=errors) as process,
        ):
            yield process

    @contextmanager
    def serving(self, workers: int) -> Iterator[Service]:
        """The service, ready, with `workers` processes; its log lines are discarded.

        Raises:
            SystemExit: it did not become ready, or ended by itself.
        """
        token = asyncio.run(_create_token(self.environment))
        port, started = free_port(), time.monotonic()
        with self.process("serve", PORT=str(port), WORKERS=str(workers)) as process:
            url = f"http://127.0.0.1:{port}"
            if not _becomes_ready(url, process):
                raise SystemExit(f"the service did not start\n{self._errors.read_text()}")
            yield Service(url, process.pid, token, time.monotonic() - started)
            if process.poll() is not None:
                raise SystemExit(
                    f"the service ended by itself ({process.returncode})\n{self._errors.read_text()}"
                )

    @property
    def _errors(self) -> Path:
        return self.folder / "errors.log"

    def query(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Rows, read without the service."""
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), parameters)
            return cursor.fetchall() if cursor.description else []


@dataclass(frozen=True, slots=True)
class Rig:
    """PostgreSQL and the KMS stand-in, for any number of installations."""

    postgres: PostgresServer
    kms_url: str
    kms_pid: int
    folder: Path

    def installation(self, name: str) -> Installation:
        """A migrated database, and what the service needs to run on it; it has no rotation workers."""
        self.postgres.ensure_database(name)
        url = self.postgres.url(name)
        migrate(url)
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("AWS_")}
        environment = inherited | {
            "DATABASE_URL": url,
            "AWS_ENDPOINT_URL_KMS": self.kms_url,
            "AWS_REGION": REGION,
            "AWS_ACCESS_KEY_ID": "benchmark",
            "AWS_SECRET_ACCESS_KEY": "benchmark",
            "LOG_FORMAT": "json",
            "ROTATION_WORKER_ENABLED": "false",
            "SHUTDOWN_DELAY_SECONDS": "0",
        }
        return Installation(url, environment, environment, self.folder)


@contextmanager
def rig(latency_ms: float) -> Iterator[Rig]:
    """A rig in a temporary folder, which is removed with it."""
    with tempfile.TemporaryDirectory(prefix="kms-service-benchmark-") as name:
        folder = Path(name)
        keys = folder / "kms-keys.json"
        write_private(keys, state.dump(make_account(KEYS)))
        words = ("--keys", str(keys), "--latency-ms", str(latency_ms))
        with (
            postgres(folder / "postgres", POSTGRES) as server,
            running("kms_service.local.kms.server", *words, stdout=subprocess.PIPE) as kms,
        ):
            assert kms.stdout is not None
            yield Rig(server, kms.stdout.readline().decode().strip(), kms.pid, folder)


@contextmanager
def running(
    module: str,
    *words: str,
    environment: dict[str, str] | None = None,
    stdout: int = subprocess.DEVNULL,
    stderr: IO[bytes] | None = None,
) -> Iterator[Process]:
    """`python -m module words` for as long as the block runs; then it is stopped, if need be by force."""
    process = tether.start(
        [sys.executable, "-m", module, *words],
        on_parent_death=signal.SIGTERM,
        account=None,
        workspace=ROOT,
        environ=environment or os.environ,
        stdout=stdout,
        stderr=stderr,
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def kms_call(url: str, operation: str, parameters: dict[str, Any]) -> None:
    """Call the stand-in, which reads only the Region of a signature."""
    scope = f"benchmark/20260101/{REGION}/kms/aws4_request"
    headers = {
        "X-Amz-Target": f"TrentService.{operation}",
        "Authorization": f"AWS4-HMAC-SHA256 Credential={scope}",
    }
    urllib.request.urlopen(urllib.request.Request(url, json.dumps(parameters).encode(), headers)).read()


async def _create_token(environment: dict[str, str]) -> str:
    """Create a token in this process, sooner than a command would."""
    given = {name.lower(): value for name, value in environment.items()}
    fields = {name: given[name] for name in given.keys() & Settings.model_fields.keys()}
    services = build(load_settings(None, **fields))
    try:
        await services.check()
        made = await services.tokens.create(
            Caller.without_bounds("benchmark"),
            f"benchmark-{os.urandom(4).hex()}",
            [Scope(scope) for scope in SCOPES],
            expires_in=None,
            private_key_reads_per_minute=None,
            signatures_per_minute=None,
            policy=None,
        )
        return made.secret
    finally:
        await services.close()


def _becomes_ready(url: str, process: Process) -> bool:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{url}/readyz"):
                return True
        except OSError:
            time.sleep(0.02)
    return False
