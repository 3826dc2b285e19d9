"""Several workers on one job: shared, killed, paused, cancelled; and requests that go on meanwhile."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from pathlib import Path

import pytest

import forking
from event_loop import complete
from fleet import SIZE, Fleet
from forking import Forked
from kms_endpoint import Delay, Hang
from kms_service.bootstrap import Services
from kms_service.errors import RewrapJobFinished
from kms_service.store.rewrap import batches as rotation_batches
from kms_service.store.rewrap import work as rotation_work
from kms_service.store.rewrap.jobs import RewrapStatus
from server_process import environment
from waiting import pause, wait_until
from wiring import TESTER

Worker = Callable[[], Services]

# Calls a second: what is to happen amid a job has seconds to do so before the job ends.
SLOW = 3


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotation_batches, "BATCH_WALLETS", 7)


def test_two_workers_share_a_job(fleet: Fleet, worker: Worker) -> None:
    fleet.kms.on("ReEncrypt").answer(Delay(0.02))
    worker()
    worker()
    job = fleet.wait_for_end(fleet.start())
    assert (job.status, job.done, job.skipped) == (RewrapStatus.COMPLETED, SIZE, 0)
    # Nothing was done twice.
    assert len(fleet.moves()) == SIZE
    fleet.all_open()


def test_pause_acts_at_once_and_resume_loses_nothing(fleet: Fleet, worker: Worker) -> None:
    job = fleet.start(rate_per_second=SLOW)
    worker()
    wait_until(lambda: fleet.job(job).done > 0)
    assert complete(fleet.services.rewrap_jobs.pause(TESTER, job.rotation_id)).status is RewrapStatus.PAUSED
    wait_until(lambda: _rests(fleet))
    assert fleet.job(job).done == fleet.kms.count("ReEncrypt") < SIZE

    _hurry(fleet)
    assert complete(fleet.services.rewrap_jobs.resume(TESTER, job.rotation_id)).status is RewrapStatus.RUNNING
    ended = fleet.wait_for_end(job)
    assert (ended.status, ended.done, ended.kms_calls) == (RewrapStatus.COMPLETED, SIZE, SIZE)


def _rests(fleet: Fleet) -> bool:
    """Whether nothing moves for as long as three moves take at their pace."""
    before = fleet.kms.count("ReEncrypt")
    pause(3 / SLOW)
    return fleet.kms.count("ReEncrypt") == before


def _hurry(fleet: Fleet) -> None:
    fleet.query("UPDATE rotations SET rate_per_second = 10000")


def test_cancel_ends_the_job_and_what_moved_stays_moved(fleet: Fleet, worker: Worker) -> None:
    job = fleet.start(rate_per_second=SLOW)
    worker()
    wait_until(lambda: fleet.job(job).done > 0)
    assert (
        complete(fleet.services.rewrap_jobs.cancel(TESTER, job.rotation_id)).status is RewrapStatus.CANCELLED
    )
    wait_until(lambda: _rests(fleet))
    ended = fleet.job(job)
    assert 0 < ended.done < SIZE
    assert fleet.by_key()[fleet.source] == SIZE - ended.done
    with pytest.raises(RewrapJobFinished):
        complete(fleet.services.rewrap_jobs.resume(TESTER, job.rotation_id))
    fleet.all_open()


def test_the_pace_is_that_of_all_workers_together(fleet: Fleet, worker: Worker) -> None:
    job = fleet.start(rate_per_second=12)
    worker()
    worker()
    ended = fleet.wait_for_end(job)
    assert ended.started_at is not None
    assert ended.finished_at is not None
    # The bucket is empty at first, so all calls are due after two seconds and not before.
    assert (ended.finished_at - ended.started_at).total_seconds() > 1.5


def test_a_wallet_that_changed_meanwhile_is_left_alone(fleet: Fleet, worker: Worker) -> None:
    fleet.query("DELETE FROM wallets WHERE user_id <> 'user-010'")
    with fleet.kms.on("ReEncrypt").answer(Hang()):
        job = fleet.start()
        worker()
        fleet.kms.wait_for(1, "ReEncrypt")
        fleet.query("UPDATE wallets SET encrypted_dek = '\\x01'")
    wait_until(lambda: fleet.job(job).skipped == 1)
    assert fleet.query("SELECT encrypted_dek FROM wallets") == [(b"\x01",)]
    # The next sweep finds it as it is now, and KMS does not know it.
    assert fleet.wait_for_end(job).status is RewrapStatus.COMPLETED_WITH_ERRORS


def test_reads_creations_and_signatures_go_on(fleet: Fleet, worker: Worker) -> None:
    fleet.kms.on("ReEncrypt").answer(Delay(0.02))
    failures: list[BaseException] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            try:
                fleet.all_open()
            except BaseException as error:  # noqa: BLE001 # whatever it is, the test shows it
                failures.append(error)
                return

    # Each as the caller that this test is.
    readers = [threading.Thread(target=copy_context().run, args=(read,)) for _ in range(3)]
    for reader in readers:
        reader.start()
    worker()
    worker()
    job = fleet.wait_for_end(fleet.start())
    made = complete(fleet.services.wallets.create_wallet(TESTER, "made-meanwhile"))
    stop.set()
    for reader in readers:
        reader.join()
    assert not failures
    assert job.status is RewrapStatus.COMPLETED
    assert made.wallet_address


def test_a_killed_worker_loses_nothing(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotation_batches, "LEASE_SECONDS", 1)
    job = fleet.start(rate_per_second=SLOW)
    with _worker_process(fleet) as first:
        wait_until(lambda: fleet.job(job).done > 0)
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
    done = fleet.job(job).done
    assert 0 < done < SIZE
    _hurry(fleet)
    fleet.query("UPDATE rotation_batches SET leased_until = now()")
    with _worker_process(fleet) as second:
        ended = fleet.wait_for_end(job)
        assert second.wait(60) == 0
    assert (ended.status, ended.done, ended.failed, ended.skipped) == (RewrapStatus.COMPLETED, SIZE, 0, 0)
    fleet.all_open()


def test_a_stopped_worker_lets_its_batch_go(fleet: Fleet) -> None:
    fleet.kms.on("ReEncrypt").answer(Delay(0.4))
    job = fleet.start()
    with _worker_process(fleet, threads=1) as worker:
        wait_until(lambda: fleet.job(job).done > 0)
        worker.terminate()
        assert worker.wait(60) == 130
    assert fleet.job(job).done < SIZE
    assert fleet.query("SELECT count(*) FROM rotation_batches WHERE leased_until > now()") == [(0,)]


def test_a_lease_runs_out_by_itself(fleet: Fleet, worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotation_batches, "LEASE_SECONDS", 1)
    job = fleet.start()
    started = time.monotonic()
    dead = rotation_work.RewrapWork(fleet.services.database)
    complete(dead.begin(job.rotation_id))
    batch = complete(dead.claim(fleet.job(job), "dead"))
    assert batch is not None
    worker()
    assert fleet.wait_for_end(job).done == SIZE
    assert time.monotonic() - started > 0.8
    with pytest.raises(rotation_batches.LeaseLost):
        complete(dead.commit(job, batch, rotation_batches.Round()))


@contextmanager
def _worker_process(fleet: Fleet, threads: int = 2) -> Iterator[Forked]:
    command = ["rotation", "run", "--at-once", str(threads), "--json"]
    with Path(os.devnull).open("wb") as unseen:
        env = environment(fleet.database_url, fleet.kms)
        process = forking.start(command, env, unseen.fileno(), unseen.fileno())
        try:
            yield process
        finally:
            process.kill()
            process.wait()
