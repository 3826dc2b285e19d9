"""The routes and commands of rotations: what is asked for, what is answered, and what is on record."""

from collections.abc import Callable
from uuid import uuid4

import pytest

from asgi_client import AsgiClient
from commands import Run, runner
from event_loop import complete
from fleet import ENDED, SIZE, SOURCE, Fleet
from kms_service.access.scopes import Scope
from kms_service.api.app import create_app
from kms_service.bootstrap import Services
from waiting import wait_until
from wiring import TESTER

Worker = Callable[[], Services]


@pytest.fixture
def client(fleet: Fleet) -> AsgiClient:
    """A caller who may start rotations and see them."""
    scopes = (Scope.ROTATIONS_ADMIN, Scope.ROTATIONS_READ)
    made = complete(
        fleet.services.tokens.create(
            TESTER,
            "mover",
            scopes,
            expires_in=None,
            private_key_reads_per_minute=None,
            signatures_per_minute=None,
            policy=None,
        )
    )
    return AsgiClient(create_app(fleet.services, owns_process=False), made.secret)


@pytest.fixture
def run(fleet: Fleet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `kms-service` with these arguments."""
    return runner(fleet.services.settings, monkeypatch, capsys)


def test_a_job_is_started_controlled_and_shown(fleet: Fleet, client: AsgiClient, worker: Worker) -> None:
    asked = {"from": [SOURCE], "dryRun": False, "ratePerSecond": 8}
    started = client.post("/rotations", json=asked)
    job = started.json()
    path = f"/rotations/{job['rotationId']}"
    assert (started.status_code, started.headers["location"]) == (202, path)
    assert (job["status"], job["total"], job["done"]) == ("pending", SIZE, 0)
    assert (job["from"], len(job["to"])) == ([fleet.source], 9)
    assert client.post("/rotations", json=asked).json()["code"] == "rotation_running"

    worker()
    wait_until(lambda: client.get(path).json()["done"] > 0)
    running = client.get(path).json()
    assert running["status"] == "running"
    assert running["walletsPerSecond"] > 0
    assert running["etaSeconds"] > 0
    assert client.post(f"{path}/pause").json()["status"] == "paused"
    assert client.post(f"{path}/pause").status_code == 200
    assert client.post(f"{path}/resume").json()["status"] == "running"
    wait_until(lambda: client.get(path).json()["status"] in ENDED)
    ended = client.get(path).json()
    assert (ended["status"], ended["done"], ended["kmsCalls"]) == ("completed", SIZE, SIZE)
    assert ended["kmsCostUsd"] == pytest.approx(SIZE * 0.000003)
    assert (ended["createdBy"], ended["failures"], ended["etaSeconds"]) == ("mover", [], None)
    assert client.post(f"{path}/cancel").json()["code"] == "rotation_finished"
    listed = client.get("/rotations").json()["rotations"]
    assert [each["rotationId"] for each in listed] == [job["rotationId"]]


def test_every_change_of_a_job_is_on_record(fleet: Fleet, client: AsgiClient, worker: Worker) -> None:
    job = client.post("/rotations", json={"from": [SOURCE], "dryRun": False}).json()
    client.post("/rotations", json={"from": [SOURCE], "dryRun": False})
    client.post(f"/rotations/{job['rotationId']}/pause")
    client.post(f"/rotations/{job['rotationId']}/resume")
    worker()

    def read_events() -> list[tuple[str, str, str]]:
        return fleet.query(
            "SELECT actor, action, outcome FROM audit_events WHERE action LIKE %s ORDER BY id", "rotation.%"
        )

    wait_until(lambda: len(read_events()) == 5)
    assert read_events() == [
        ("mover", "rotation.start", "ok"),
        ("mover", "rotation.start", "rotation_running"),
        ("mover", "rotation.pause", "ok"),
        ("mover", "rotation.resume", "ok"),
        ("rotation-worker", "rotation.end", "ok"),
    ]


def test_failures_come_in_pages(fleet: Fleet, client: AsgiClient, worker: Worker) -> None:
    fleet.query("UPDATE wallets SET encrypted_dek = '\\x00' WHERE user_id < 'user-005'")
    job = client.post("/rotations", json={"from": [SOURCE], "dryRun": False}).json()
    worker()
    path = f"/rotations/{job['rotationId']}"
    wait_until(lambda: client.get(path).json()["status"] in ENDED)
    ended = client.get(path).json()
    assert (ended["status"], ended["failed"], len(ended["failures"])) == ("completed_with_errors", 5, 5)
    assert client.get(f"{path}/failures?cursor=%00").status_code == 422
    first = client.get(f"{path}/failures?limit=3").json()
    assert [each["userId"] for each in first["failures"]] == ["user-000", "user-001", "user-002"]
    second = client.get(f"{path}/failures?limit=3&cursor={first['nextCursor']}").json()
    assert [each["code"] for each in second["failures"]] == ["integrity_failure"] * 2
    assert second["nextCursor"] is None


SENSELESS: list[dict[str, object]] = [
    {},
    {"from": [SOURCE], "stale": {"wrappedBefore": "2026-01-01T00:00:00Z"}},
    {"from": []},
    {"from": ["no key, but words"]},
    {"from": [SOURCE], "ratePerSecond": 0},
    {"from": [SOURCE], "ratePerSecond": "10"},
    {"from": [SOURCE], "dryRun": "no"},
    {"from": [SOURCE], "to": [SOURCE]},
    {"from": [SOURCE], "surprise": 1},
    {"stale": {"wrappedBefore": "yesterday"}},
    {"stale": {"wrappedBefore": "2026-01-01T00:00:00"}},
]


def test_a_body_that_makes_no_sense_is_refused(client: AsgiClient) -> None:
    for body in SENSELESS:
        answer = client.post("/rotations", json=body)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request"), body


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"from": ["nobody-knows-it"]}, "body.from"),
        ({"stale": {"wrappedBefore": "2999-01-01T00:00:00Z"}}, "body.stale.wrappedBefore"),
        ({"from": [SOURCE], "to": [SOURCE]}, "body.to"),
    ],
)
def test_an_impossible_job_is_refused_with_the_member_of_the_body(
    client: AsgiClient, body: dict[str, object], field: str
) -> None:
    answer = client.post("/rotations", json=body).json()
    assert [each["field"] for each in answer["errors"]] == [field]


def test_a_job_is_a_dry_run_by_default(client: AsgiClient, fleet: Fleet) -> None:
    job = client.post("/rotations", json={"stale": {"wrappedBefore": "2026-01-01T00:00:00Z"}}).json()
    assert (job["status"], job["dryRun"], job["total"]) == ("completed", True, 0)
    assert fleet.kms.count("ReEncrypt") == 0


def test_an_unknown_job_is_not_found(client: AsgiClient) -> None:
    for path in ("", "/failures"):
        assert client.get(f"/rotations/{uuid4()}{path}").json()["code"] == "rotation_not_found"
    assert client.post(f"/rotations/{uuid4()}/pause").json()["code"] == "rotation_not_found"


def test_a_worker_from_a_terminal_moves_all_and_shows_it(run: Run, fleet: Fleet) -> None:
    assert run("rotation", "run").code == 1, "there is nothing to do"
    assert run("rotation", "start").code == 2
    assert run("rotation", "start", "--from", SOURCE, "--no-dry-run", "--rate", "100").code == 0
    assert run("rotation", "pause", "--json").facts["status"] == "paused"
    assert run("rotation", "resume").code == 0
    done = run("rotation", "run", "--at-once", "2")
    assert done.code == 0
    assert f"completed: {SIZE} of {SIZE} wallets moved" in done.out
    assert "wallets moved" in done.err
    assert run("rotation", "status", "--watch", "--json").facts["status"] == "completed"
    assert fleet.source not in fleet.by_key()


def test_a_worker_whose_job_did_not_complete_says_so(run: Run, fleet: Fleet) -> None:
    fleet.query("UPDATE wallets SET encrypted_dek = '\\x00' WHERE user_id = 'user-003'")
    fleet.start()
    done = run("rotation", "run", "--at-once", "2", "--json")
    assert (done.code, done.facts["status"], done.facts["failed"]) == (1, "completed_with_errors", 1)
    assert "user-003  integrity_failure: InvalidCiphertextException" in run("rotation", "status").out


def test_verify_ends_as_failed_when_it_found_something(run: Run, fleet: Fleet) -> None:
    assert run("verify").code == 0
    fleet.query("UPDATE wallets SET encrypted_dek = '\\x00' WHERE user_id = 'user-003'")
    assert run("verify").code == 1
