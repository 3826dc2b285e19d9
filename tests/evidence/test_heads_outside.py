"""Heads outside the database: each is a new object, the newest is read back, and a failure is reported."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import psycopg
import pytest
from botocore.config import Config
from moto.server import ThreadedMotoServer

from commands import Run, runner
from event_loop import complete
from kms_endpoint import KmsEndpoint
from kms_service.bootstrap import Services
from kms_service.loopback import free_port
from kms_service.service.audit.log import Event
from kms_service.settings import Settings
from kms_service.store.heads import bucket
from kms_service.store.heads.bucket import BucketOfHeads
from kms_service.store.heads.place import (
    FolderOfHeads,
    HeadsPlace,
    HeadsUnavailable,
    KeptHead,
    bucket_and_prefix,
    folder_of,
)
from kms_service.telemetry import metrics
from server_process import environment, serve
from wiring import TESTER, running_services, settings_for

ONE, OTHER = uuid.UUID(int=1), uuid.UUID(int=2)
BUCKET = "evidence-heads"


def _head(chain: uuid.UUID, seq: int) -> KeptHead:
    return KeptHead(chain, seq, seq.to_bytes(32, "big"))


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    client = boto3.client(
        "s3",
        endpoint_url=f"http://{host}:{port}",
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(retries={"total_max_attempts": 1}),
    )
    client.create_bucket(Bucket=BUCKET, ObjectLockEnabledForBucket=True)
    rule = {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 1}}
    client.put_object_lock_configuration(
        Bucket=BUCKET, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule}
    )
    yield client
    client.close()
    server.stop()


@pytest.fixture(params=["folder", "bucket", "bucket without a prefix"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> HeadsPlace:
    if request.param == "folder":
        return FolderOfHeads(tmp_path / "heads")
    s3 = request.getfixturevalue("s3")
    if "without" not in request.param:
        return BucketOfHeads(lambda: s3, BUCKET, f"audit/{uuid.uuid4()}")
    name = f"heads-{uuid.uuid4()}"
    s3.create_bucket(Bucket=name)
    return BucketOfHeads(lambda: s3, name, "")


def test_the_newest_of_each_chain_is_read_back(place: HeadsPlace) -> None:
    place.keep([_head(ONE, 9), _head(OTHER, 3)])
    place.keep([_head(ONE, 10)])
    place.keep([_head(ONE, 100)])
    assert sorted(place.read(), key=lambda head: head.audit_chain_id) == [_head(ONE, 100), _head(OTHER, 3)]


def test_each_head_is_an_object_of_its_own(tmp_path: Path) -> None:
    place = FolderOfHeads(tmp_path)
    for seq in (1, 2, 2, 3):
        place.keep([_head(ONE, seq)])
    assert len(list(tmp_path.rglob("*.json"))) == 3


def test_other_files_are_not_read_as_heads(tmp_path: Path) -> None:
    place = FolderOfHeads(tmp_path)
    place.keep([_head(ONE, 5)])
    (tmp_path / str(ONE) / "notes.json").write_text("{}")
    (tmp_path / "lost+found").mkdir()
    (tmp_path / "notes").write_text("")
    assert place.read() == [_head(ONE, 5)]


def test_a_delete_marker_hides_no_head(s3: Any) -> None:
    prefix = str(uuid.uuid4())
    place = BucketOfHeads(lambda: s3, BUCKET, prefix)
    place.keep([_head(ONE, 5), _head(ONE, 6)])
    s3.delete_object(Bucket=BUCKET, Key=f"{prefix}/{ONE}/{_head(ONE, 6).name}")
    assert place.read() == [_head(ONE, 6)]


@pytest.fixture
def page_size(monkeypatch: pytest.MonkeyPatch) -> int:
    """How many objects a page holds at most: a few, for a page to be filled by a few."""
    monkeypatch.setattr(bucket, "_LISTED", 5)
    return 5


def test_names_put_before_the_heads_are_an_error(s3: Any, page_size: int) -> None:
    prefix = str(uuid.uuid4())
    place = BucketOfHeads(lambda: s3, BUCKET, prefix)
    place.keep([_head(ONE, 5)])
    for number in range(page_size + 1):
        s3.put_object(Bucket=BUCKET, Key=f"{prefix}/{ONE}/!{number:03}", Body=b"")
    with pytest.raises(HeadsUnavailable, match="is no head"):
        place.read()


def test_more_chains_than_a_page_are_all_read(s3: Any, page_size: int) -> None:
    place = BucketOfHeads(lambda: s3, BUCKET, f"many-{uuid.uuid4()}")
    heads = [_head(uuid.UUID(int=number), 1) for number in range(2 * page_size + 1)]
    place.keep(heads)
    assert sorted(place.read(), key=lambda head: head.audit_chain_id) == heads


def test_a_place_that_is_away_says_so(s3: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (FolderOfHeads(tmp_path / "file"), BucketOfHeads(lambda: s3, "no-such-bucket", "")):
        with pytest.raises(HeadsUnavailable):
            place.keep([_head(ONE, 1)])
        with pytest.raises(HeadsUnavailable):
            place.read()
    closed = boto3.client(
        "s3",
        endpoint_url="http://127.0.0.1:9",
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(retries={"total_max_attempts": 1}, connect_timeout=1),
    )
    with pytest.raises(HeadsUnavailable, match="EndpointConnectionError"):
        BucketOfHeads(lambda: closed, BUCKET, "").keep([_head(ONE, 1)])


def test_the_address_of_a_store_is_parsed() -> None:
    assert bucket_and_prefix("s3://evidence-heads/audit/heads/") == (BUCKET, "audit/heads")
    assert bucket_and_prefix("s3://evidence-heads") == (BUCKET, "")
    assert bucket_and_prefix("/var/lib/heads") is None
    assert folder_of("/var/lib/heads") == folder_of("file:///var/lib/heads") == Path("/var/lib/heads")
    for wrong in ("s3://", "s3://UPPER/x", "s3:///x"):
        with pytest.raises(ValueError, match="must name a bucket"):
            bucket_and_prefix(wrong)
    for wrong in ("heads", "", "https://example.com/x", "file://host/x", "~/heads"):
        with pytest.raises(ValueError, match="must be an absolute path"):
            folder_of(wrong)


@pytest.fixture
def heads_folder(tmp_path: Path) -> Path:
    return tmp_path / "heads"


@pytest.fixture
def settings(database_url: str, kms_endpoint: KmsEndpoint, heads_folder: Path) -> Settings:
    return settings_for(database_url, kms_endpoint, audit_heads_url=str(heads_folder))


@pytest.fixture
def run(
    settings: Settings,
    heads_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    monkeypatch.setenv("AUDIT_HEADS_URL", heads_folder.as_uri())
    return runner(settings, monkeypatch, capsys)


def test_a_cut_off_end_is_reported_without_heads_being_given(
    run: Run, settings: Settings, database_url: str
) -> None:
    with running_services(settings) as services:
        for number in range(5):
            complete(services.audit.record(TESTER, Event("test.event", user_id=f"user-{number}")))
    assert run("audit", "verify").code == 0
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute("ALTER TABLE audit_events DISABLE TRIGGER USER")
        owner.execute("DELETE FROM audit_events WHERE seq > 3")
    done = run("audit", "verify")
    assert done.code == 1
    assert "row 4 of chain 1 and all after it were cut off" in done.out


@pytest.mark.parametrize(("level", "workers"), [("WARNING", 1), ("ERROR", 2)])
def test_no_level_keeps_heads_from_the_log_stream(
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    database_url: str,
    kms_endpoint: KmsEndpoint,
    level: str,
    workers: int,
    tmp_path: Path,
) -> None:
    monkeypatch.delenv("AUDIT_HEADS_URL")
    env = environment(
        database_url, kms_endpoint, LOG_LEVEL=level, AUDIT_HEADS_SECONDS=1, WORKERS=workers, PORT=free_port()
    )
    with serve(env) as server:
        assert server.stop() == 0
    (tmp_path / "log").write_text("\n".join(server.out))
    assert [line["level"] for line in server.events("audit_head")]
    assert run("audit", "verify", "--heads", str(tmp_path / "log")).code == 0
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute("ALTER TABLE audit_events DISABLE TRIGGER USER")
        owner.execute("DELETE FROM audit_events WHERE action = 'audit.close'")
    done = run("audit", "verify", "--heads", str(tmp_path / "log"))
    assert (done.code, "were cut off" in done.out) == (1, True)


def test_a_place_that_is_away_stops_no_release_and_is_counted(
    run: Run, services: Services, heads_folder: Path
) -> None:
    heads_folder.write_text("a file where the folder should be")
    failures = metrics.audit_heads_failures._value.get()
    complete(services.wallets.ensure_wallet(TESTER, "user-1"))
    assert complete(services.wallets.get_private_key_for_user(TESTER, "user-1")).wallet_address
    complete(services.audit.tell_heads())
    assert metrics.audit_heads_failures._value.get() == failures + 1
    assert run("audit", "verify").code == 75, "nobody can say whether an end was cut off"
    heads_folder.unlink()
    complete(services.audit.tell_heads())
    assert FolderOfHeads(heads_folder).read(), "what could not be kept is kept later"
