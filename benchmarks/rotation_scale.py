"""Moves many wallets from one key to nine others under live traffic, while workers are killed.

    python -m benchmarks.rotation_scale --wallets 100000

Needs the `local` extra. A real PostgreSQL with fsync and synchronous commits, a KMS stand-in, the service and
its workers run as processes on this machine. Afterwards the old key is disabled; every seed is then opened
without the service, and every wallet that opens to its address (`--opens-every`; see filling) by the service.
Prints each phase as it ends, and a JSON document at the end.
"""

import argparse
import hashlib
import json
import signal
import time
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import psutil
import psycopg

from benchmarks.filling import fill, remove_unopenable, unsealable, user_ids
from benchmarks.keys import PREFIX, make_account, nth
from benchmarks.machine import circumstances
from benchmarks.rig import KEYS, Installation, Process, Rig, kms_call, rig
from benchmarks.traffic import Traffic

SOURCE = f"{PREFIX}-1"
ALONE_SECONDS = 15.0

Worker = Process


def worker(scale: Installation, threads: int) -> AbstractContextManager[Worker]:
    """A worker of rotations."""
    return scale.process("rotation", "run", "--at-once", str(threads))


def count_moved(scale: Installation) -> int:
    """Wallets moved so far."""
    rows = scale.query("SELECT done FROM rotations")
    return int(rows[0][0]) if rows else 0


def seeds(scale: Installation) -> str:
    """SHA-256 over every filled wallet's encrypted seed, in order."""
    digest = hashlib.sha256()
    with psycopg.connect(scale.database_url) as connection, connection.cursor("seeds") as cursor:
        cursor.execute("SELECT encrypted_seed FROM wallets WHERE user_id LIKE 'user-%' ORDER BY user_id")
        for (seed,) in cursor:
            digest.update(seed)
    return digest.hexdigest()


class Observer:
    """Watches workers and traffic, phase by phase."""

    def __init__(self, scale: Installation, traffic: Traffic) -> None:
        self._scale = scale
        self._traffic = traffic
        self.phases: list[dict[str, Any]] = []

    def alone(self, name: str) -> None:
        """Watch a phase of traffic without workers."""
        self._traffic.take()
        time.sleep(ALONE_SECONDS)
        self._note({"phase": name, **self._traffic.take()})

    def watch(self, name: str, until: int, workers: list[Worker]) -> None:
        """Watch a phase that ends when `until` wallets have moved, or the workers have finished."""
        started, before, most = time.monotonic(), count_moved(self._scale), 0
        self._traffic.take()
        while count_moved(self._scale) < until and any(worker.poll() is None for worker in workers):
            most = max([most, *(_resident(worker) for worker in workers)])
            time.sleep(0.25)
        took, done = time.monotonic() - started, count_moved(self._scale) - before
        self._note(
            {
                "phase": name,
                "seconds": round(took, 1),
                "moved": done,
                "wallets_per_second": round(done / took),
                "worker_mib_most": round(most / 2**20),
                **self._traffic.take(),
            }
        )

    def _note(self, phase: dict[str, Any]) -> None:
        self.phases.append(phase)
        print(json.dumps(phase), flush=True)


def move(scale: Installation, observer: Observer, options: argparse.Namespace) -> None:
    """Start the rotation, and run it with up to two workers at a time, of which two are killed."""
    scale.command("pool", "drain", SOURCE)
    scale.command("rotation", "start", "--from", SOURCE, "--no-dry-run", "--rate", str(options.rate))
    wallets = options.wallets
    with ExitStack() as stack:
        first = stack.enter_context(worker(scale, options.threads))
        _until_it_moves(scale)
        observer.watch("one worker", int(0.3 * wallets), [first])
        second = stack.enter_context(worker(scale, options.threads))
        time.sleep(4)
        observer.watch("two workers", int(0.6 * wallets), [first, second])
        first.send_signal(signal.SIGKILL)
        observer.watch("after SIGKILL of the first", int(0.7 * wallets), [second])
        third = stack.enter_context(worker(scale, options.threads))
        time.sleep(4)
        second.send_signal(signal.SIGKILL)
        observer.watch("after SIGKILL of the second", int(0.8 * wallets), [third])
        fourth = stack.enter_context(worker(scale, options.threads))
        observer.watch("two others to the end", 10 * wallets, [third, fourth])


def run(machine: Rig, options: argparse.Namespace) -> dict[str, Any]:
    """Run everything in order, and return what was seen."""
    scale = machine.installation("scale")
    started = time.monotonic()
    fill(scale.database_url, KEYS, options.wallets, options.opens_every)
    filled = time.monotonic() - started
    print(f"filled {options.wallets:,} wallets in {filled:.0f} s", flush=True)
    before = seeds(scale)
    with scale.serving(1) as service:
        traffic = Traffic(service.url, service.token, list(user_ids(options.wallets, options.opens_every)))
        observer = Observer(scale, traffic)
        with traffic.running():
            time.sleep(2)
            observer.alone("traffic alone")
            move(scale, observer, options)
            observer.alone("traffic alone again")
    return {
        "circumstances": circumstances(),
        "options": vars(options),
        "fill_seconds": round(filled),
        "phases": observer.phases,
        "failed_requests": traffic.failures,
        "created_meanwhile": traffic.created,
        "seeds_unchanged": seeds(scale) == before,
        **_measure_afterwards(machine, scale, options),
    }


def _measure_afterwards(machine: Rig, scale: Installation, options: argparse.Namespace) -> dict[str, Any]:
    source = nth(make_account(KEYS), 1).arn
    columns = ("status", "done", "failed", "skipped", "kms_calls", "sweep")
    job = scale.query(f"SELECT {', '.join(columns)} FROM rotations")[0]
    left = scale.query("SELECT count(*) FROM wallets WHERE kms_key_id = %s", source)[0][0]
    chains = json.loads(scale.command("pool", "retire", SOURCE, "--days", "0", "--json", check=False))
    kms_call(machine.kms_url, "DisableKey", {"KeyId": source})
    unopened = unsealable(scale.database_url, KEYS)
    remove_unopenable(scale.database_url, options.opens_every)
    started = time.monotonic()
    verified = json.loads(scale.command("verify", "--json", "--at-once", "8", check=False).splitlines()[-1])
    rate = verified["opened"] / (time.monotonic() - started)
    return {
        "job": dict(zip(columns, job, strict=True)),
        "left_under_source": left,
        "retirement": chains["conditions"],
        "seeds_that_do_not_open_past_the_service": unopened,
        "verified_with_the_source_disabled": {key: verified[key] for key in ("opened", "failed")},
        "verified_per_second": round(rate),
        "plans": _plans(scale),
    }


def _plans(scale: Installation) -> dict[str, list[str]]:
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
    scale.query("VACUUM ANALYZE wallets")
    key = nth(make_account(KEYS), 2).arn
    return {
        name: [row[0] for row in scale.query(f"EXPLAIN {text}", key)] for name, text in statements.items()
    }


def _until_it_moves(scale: Installation) -> None:
    while count_moved(scale) == 0:
        time.sleep(0.1)


def _resident(process: Worker) -> int:
    try:
        return int(psutil.Process(process.pid).memory_info().rss)
    except psutil.Error:
        return 0


def main() -> None:
    """Run it all."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--wallets", type=int, default=100_000)
    parser.add_argument("--opens-every", type=int, default=1, help="that fills faster: see filling.py")
    parser.add_argument(
        "--at-once", dest="threads", type=int, default=32, help="KMS calls at once in a worker"
    )
    parser.add_argument("--rate", type=float, default=10_000, help="KMS calls a second over all workers")
    parser.add_argument("--latency-ms", type=float, default=5.0, help="of KMS")
    options = parser.parse_args()
    with rig(options.latency_ms) as machine:
        print(json.dumps(run(machine, options), indent=2))


if __name__ == "__main__":
    main()
