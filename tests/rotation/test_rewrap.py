"""Moving wallets between keys: what changes, what never does, and what KMS is asked."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import REGISTRY

from event_loop import complete
from fleet import SIZE, SOURCE, Fleet
from kms_endpoint import Error, OtherKeyId
from kms_service.bootstrap import Services
from kms_service.errors import InvalidRequest, NoUsableKey, RewrapJobRunning
from kms_service.kms.pool import KeyMode
from kms_service.store.rewrap.jobs import RewrapStatus
from waiting import wait_until
from wiring import TESTER

Worker = Callable[[], Services]


@pytest.mark.invariant(7)
def test_wallets_move_by_re_encrypt_alone_and_their_seeds_stay(fleet: Fleet, worker: Worker) -> None:
    fleet.drain_source()
    seeds, before = fleet.seeds(), len(fleet.kms.find_requests())

    worker()
    job = fleet.wait_for_end(fleet.start())

    assert (job.status, job.total, job.done, job.failed, job.skipped) == (
        RewrapStatus.COMPLETED,
        SIZE,
        SIZE,
        0,
        0,
    )
    assert job.kms_calls == len(fleet.moves()) == SIZE
    asked = {
        each.operation
        for each in fleet.kms.find_requests()[before:]
        if each.context.get("purpose") not in ("audit-chain", "row-mac")
    }
    assert asked <= {"ReEncrypt", "DescribeKey", "GetKeyRotationStatus"}
    assert fleet.seeds() == seeds
    assert fleet.source not in fleet.by_key()
    fleet.kms.key(fleet.source).state = "Disabled"
    fleet.all_open()


def test_wallets_are_spread_over_the_active_keys(fleet: Fleet, worker: Worker) -> None:
    fleet.drain_source()
    complete(fleet.services.pool_service.set_mode(TESTER, "Empressa-wallet-key-2", KeyMode.DRAINING))
    worker()
    fleet.wait_for_end(fleet.start())
    assert set(fleet.by_key()) <= {fleet.kms.key(f"alias/Empressa-wallet-key-{n}").arn for n in range(3, 11)}
    assert len(fleet.by_key()) > 3


def test_both_keys_and_contexts_are_named(fleet: Fleet, worker: Worker) -> None:
    worker()
    fleet.wait_for_end(fleet.start(destinations=["Empressa-wallet-key-5"]))
    for each in fleet.moves():
        assert each.params["SourceKeyId"] == fleet.source
        assert each.params["DestinationKeyId"] == fleet.kms.key("alias/Empressa-wallet-key-5").arn
        context = each.params["SourceEncryptionContext"]
        assert context == each.params["DestinationEncryptionContext"]
        assert context["purpose"] == "wallet-dek"


def test_time_and_key_material_of_the_wrapping_are_recorded(fleet: Fleet, worker: Worker) -> None:
    worker()
    fleet.wait_for_end(fleet.start(destinations=["Empressa-wallet-key-5"]))
    key = fleet.kms.key("alias/Empressa-wallet-key-5")
    rows = fleet.query(
        "SELECT DISTINCT kms_key_material_id, kms_key_id, dek_wrapped_at > created_at FROM wallets"
    )
    assert rows == [(key.materials[-1].id, key.arn, True)]


def test_a_dry_run_counts_and_changes_nothing(fleet: Fleet, worker: Worker) -> None:
    worker()
    job = fleet.start(dry_run=True)
    assert (job.status, job.total, job.done) == (RewrapStatus.COMPLETED, SIZE, 0)
    assert fleet.by_key() == {fleet.source: SIZE}
    assert fleet.kms.count("ReEncrypt") == 0
    assert complete(fleet.services.rewrap_jobs.find_live()) is None


def test_stale_wallets_move_whatever_their_key(fleet: Fleet, worker: Worker) -> None:
    fleet.query("UPDATE wallets SET created_at = now() - interval '2 years' WHERE user_id < 'user-020'")
    fleet.query("UPDATE wallets SET dek_wrapped_at = now() WHERE user_id < 'user-005'")
    worker()
    long_ago = datetime.now(UTC) - timedelta(days=365)
    job = fleet.wait_for_end(fleet.start(sources=None, wrapped_before=long_ago))
    assert (job.status, job.total, job.done) == (RewrapStatus.COMPLETED, 15, 15)
    moved = fleet.query(
        "SELECT min(user_id), max(user_id), count(*) FROM wallets WHERE kms_key_material_id <> ''"
    )
    assert moved == [("user-005", "user-019", 15)]
    fleet.all_open()


def test_stale_wallets_may_stay_under_their_key(fleet: Fleet, worker: Worker) -> None:
    worker()
    job = fleet.wait_for_end(
        fleet.start(sources=None, wrapped_before=datetime.now(UTC), destinations=[SOURCE])
    )
    assert (job.status, job.done) == (RewrapStatus.COMPLETED, SIZE)
    assert fleet.by_key() == {fleet.source: SIZE}
    fleet.all_open()


def test_wallets_made_meanwhile_under_the_source_move_too(fleet: Fleet, worker: Worker) -> None:
    job = fleet.start(rate_per_second=15)
    worker()
    fleet.grow(["aaa", "user-0105", "zzz"])
    ended = fleet.wait_for_end(job)
    assert (ended.status, ended.done) == (RewrapStatus.COMPLETED, SIZE + 3)
    assert fleet.source not in fleet.by_key()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ("encrypted_dek = '\\x00'", "InvalidCiphertextException"),
        ("encrypted_dek = ''", "stored blob's length"),
        ("kms_region = 'us-east-1'", "stored key id"),
    ],
)
def test_a_wallet_that_does_not_open_is_listed_and_the_rest_moves(
    fleet: Fleet, worker: Worker, damage: str, reason: str
) -> None:
    fleet.query(f"UPDATE wallets SET {damage} WHERE user_id = 'user-010'")  # noqa: S608 # a test's own words
    worker()
    job = fleet.wait_for_end(fleet.start())
    assert (job.status, job.done, job.failed) == (RewrapStatus.COMPLETED_WITH_ERRORS, SIZE - 1, 1)
    (failure,) = complete(fleet.services.rewrap_jobs.failures(job.rotation_id, limit=10, after=""))
    assert (failure.user_id, failure.code, failure.reason) == ("user-010", "integrity_failure", reason)
    assert fleet.by_key()[fleet.source] == 1


@pytest.mark.invariant(7)
def test_a_lying_reply_is_not_stored(fleet: Fleet, worker: Worker) -> None:
    other = fleet.kms.key("alias/Empressa-wallet-key-9").arn
    fleet.kms.on("ReEncrypt").times(2).answer(OtherKeyId(other))
    worker()
    job = fleet.wait_for_end(fleet.start(destinations=["Empressa-wallet-key-2"]))
    assert (job.status, job.done, job.failed) == (RewrapStatus.COMPLETED_WITH_ERRORS, SIZE - 2, 2)
    fleet.all_open()


@pytest.mark.invariant(6)
def test_throttling_slows_the_job_and_fails_nothing(fleet: Fleet, worker: Worker) -> None:
    fleet.kms.on("ReEncrypt").times(25).answer(Error("ThrottlingException"))
    worker()
    job = fleet.wait_for_end(fleet.start(rate_per_second=100))
    assert (job.status, job.done, job.failed) == (RewrapStatus.COMPLETED, SIZE, 0)
    assert job.kms_calls == SIZE + 25
    assert job.last_error == "kms_throttled: ThrottlingException"
    ((slowed,),) = fleet.query("SELECT slowed_rate FROM rotations")
    assert slowed <= 50


def test_a_job_waits_while_kms_is_away(fleet: Fleet, worker: Worker) -> None:
    fleet.kms.on("ReEncrypt").times(21).answer(Error("KMSInternalException"))
    worker()
    job = fleet.wait_for_end(fleet.start())
    assert (job.status, job.done, job.failed) == (RewrapStatus.COMPLETED, SIZE, 0)
    assert job.last_error == "kms_unavailable: KMSInternalException"


def _count_failed_rotations() -> float:
    return REGISTRY.get_sample_value("kms_service_rotations_ended_total", {"status": "failed"}) or 0.0


def test_a_source_that_refuses_ends_the_job_as_failed(fleet: Fleet, worker: Worker) -> None:
    fleet.kms.key(fleet.source).state = "Disabled"
    before = _count_failed_rotations()
    worker()
    job = fleet.wait_for_end(fleet.start())
    assert job.status is RewrapStatus.FAILED
    assert job.last_error is not None
    assert job.last_error.startswith("kms_key_unusable: DisabledException")
    wait_until(lambda: _count_failed_rotations() == before + 1)  # counted once it is written
    # One round, with three destinations tried for each wallet of it.
    assert job.kms_calls <= 3 * SIZE
    fleet.kms.key(fleet.source).state = "Enabled"
    assert fleet.wait_for_end(fleet.start()).status is RewrapStatus.COMPLETED


def test_a_destination_that_refuses_is_skipped(fleet: Fleet, worker: Worker) -> None:
    fleet.kms.deny("alias/Empressa-wallet-key-4", "ReEncrypt")
    worker()
    job = fleet.wait_for_end(fleet.start())
    assert (job.status, job.done) == (RewrapStatus.COMPLETED, SIZE)
    assert fleet.kms.key("alias/Empressa-wallet-key-4").arn not in fleet.by_key()


def test_one_job_runs_at_a_time(fleet: Fleet) -> None:
    first = fleet.start()
    with pytest.raises(RewrapJobRunning):
        fleet.start()
    complete(fleet.services.rewrap_jobs.cancel(TESTER, first.rotation_id))
    assert fleet.start().rotation_id != first.rotation_id


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"sources": ["nobody-knows-it"]}, "sources"),
        ({"sources": ["arn:aws:kms:us-east-1:111122223333:key/elsewhere"]}, "sources"),
        ({"destinations": ["nobody-knows-it"]}, "destinations"),
        ({"destinations": [SOURCE]}, "destinations"),
        (
            {"sources": None, "wrapped_before": datetime.now(UTC) + timedelta(days=1)},
            "wrapped_before",
        ),
    ],
)
def test_a_job_that_makes_no_sense_is_refused(fleet: Fleet, changes: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        fleet.start(**changes)
    assert refused.value.field == field
    assert complete(fleet.services.rewrap_jobs.find_live()) is None


def test_a_job_needs_a_destination(fleet: Fleet) -> None:
    with pytest.raises(NoUsableKey):
        fleet.start(sources=[key.name for key in fleet.services.pool.keys])
