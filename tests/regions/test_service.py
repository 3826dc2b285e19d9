"""The whole service on two Regions: what is stored, shown, counted, moved and explained when one is away."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from commands import runner
from event_loop import complete, on_loop
from evidence.trail import ROLE
from kms_endpoint import Hang, LostReply, Reset
from kms_service.bootstrap import Services
from kms_service.errors import KmsError
from kms_service.kms.keys import arn
from kms_service.local.cloudtrail import Identity, record_of, write_trail
from kms_service.service.evidence.against_cloudtrail import Compared
from kms_service.service.rewrap import worker as rewrap_worker
from kms_service.service.rewrap.jobs import RewrapRequest
from kms_service.service.wallets import signatures
from kms_service.store.audit.events import Event
from kms_service.store.audit.trail import EventFilter
from kms_service.store.rewrap.jobs import RewrapStatus
from regions.two_regions import FALLBACK, HOME, TwoRegions, there, two_regions
from waiting import wait_until
from wiring import TESTER, running_services


@pytest.fixture
def regions() -> Iterator[TwoRegions]:
    with two_regions(4) as regions:
        yield regions


@pytest.fixture
def services(database_url: str, regions: TwoRegions) -> Iterator[Services]:
    with running_services(regions.settings(database_url, kms_key_pool_size=4)) as services:
        yield services


def _event(services: Services, action: str) -> Event:
    events = complete(services.audit_trail.page(EventFilter(action=action), before=None, limit=1)).events
    return events[0].row.event


def test_a_wallet_made_in_one_region_opens_in_the_other_and_the_log_says_where(
    services: Services, regions: TwoRegions
) -> None:
    made_here = complete(services.wallets.ensure_wallet(TESTER, "here")).wallet
    with regions.home.on().answer(Reset()):
        made_there = complete(services.wallets.ensure_wallet(TESTER, "there")).wallet
        complete(services.wallets.get_private_key_for_user(TESTER, "here"))
        assert _event(services, "wallet.create").kms_key_id == made_there.kms_key_id
        opened = _event(services, "private_key.read")
        assert opened.kms_key_id == there(made_here.kms_key_id)
        assert opened.kms_request_id in {each.call.request_id for each in regions.fallback.find_requests()}
    assert (made_here.kms_region, made_there.kms_region) == (HOME, FALLBACK)
    assert arn.region(made_there.kms_key_id) == FALLBACK
    released = complete(services.wallets.get_private_key_for_user(TESTER, "there"))
    assert released.wallet_address == made_there.wallet_address
    assert _event(services, "private_key.read").kms_key_id == arn.in_region(made_there.kms_key_id, HOME)
    report = complete(services.verifier.verify(None, {}, lambda _rows: None))
    assert report.intact


def test_the_pool_counts_a_key_once_and_shows_its_regions(services: Services, regions: TwoRegions) -> None:
    with regions.home.on().answer(Reset()):
        for number in range(8):
            complete(services.wallets.ensure_wallet(TESTER, f"there-{number}"))
        states = complete(services.pool_service.state()).regions
        assert [(each.name, bool(each.reason)) for each in states] == [(HOME, True), (FALLBACK, False)]
        health = services.readiness.health()
        assert (health.ready, health.checks["kms"]) == (True, "ok")
        assert health.checks["regions"] == f"{HOME} does not serve (ConnectionClosedError)"
    state = complete(services.pool_service.refresh())
    assert sum(key.wallets for key in state.keys) == 8
    assert state.others == []
    assert all(key.info.usable for key in state.keys)


def test_a_process_starts_while_the_first_region_is_away(database_url: str, regions: TwoRegions) -> None:
    settings = regions.settings(database_url, kms_key_pool_size=4)
    with regions.home.refusing_connections(), running_services(settings) as services:
        assert len(services.pool.wrapping) == 4
        wallet = complete(services.wallets.ensure_wallet(TESTER, "alice")).wallet
        assert wallet.kms_region == FALLBACK
        complete(services.row_macs.tend())
    with psycopg.connect(database_url) as connection:
        wrapped = connection.execute("SELECT kms_key_id FROM row_mac_keys").fetchall()
    # As many keys wrap the key of row MACs as when all is well, and no more.
    assert len(wrapped) == len(set(wrapped)) == 3
    with regions.fallback.refusing_connections(), running_services(settings) as services:
        complete(services.row_macs.tend())
        complete(services.wallets.get_private_key_for_user(TESTER, "alice"))
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT count(*) FROM row_mac_keys").fetchone() == (3,)


def test_a_rotation_moves_what_was_wrapped_elsewhere_too(
    services: Services, regions: TwoRegions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rewrap_worker, "IDLE_SECONDS", 0.05)
    with regions.home.on().answer(Reset()):
        for number in range(12):
            complete(services.wallets.ensure_wallet(TESTER, f"there-{number}"))
    complete(services.wallets.ensure_wallet(TESTER, "here"))
    complete(services.pool_service.refresh())
    names = [key.info.name for key in complete(services.pool_service.state()).keys]
    retirement = complete(services.key_lifecycle.retirement(names[0], unused_for=timedelta(0)))
    held = sum(key.wallets for key in complete(services.pool_service.state()).keys[:1])
    assert any(f"wallets under it: {held}" in each.finding for each in retirement.conditions) or not held
    request = RewrapRequest(names[:3], None, names[3:], dry_run=False, rate_per_second=1000)
    job = complete(services.rewrap_jobs.start(TESTER, request))
    assert len(job.sources) == 6
    on_loop(services.rewrap_worker.start)
    wait_until(lambda: complete(services.rewrap_jobs.find(job.rotation_id)).status is RewrapStatus.COMPLETED)
    state = complete(services.pool_service.refresh())
    assert [key.wallets for key in state.keys] == [0, 0, 0, 13]
    for number in range(12):
        complete(services.wallets.get_private_key_for_user(TESTER, f"there-{number}"))


def test_cloudtrail_of_both_regions_is_explained(
    services: Services, regions: TwoRegions, tmp_path: Path
) -> None:
    users = [f"user-{number}" for number in range(5)]
    for user in users:
        complete(services.wallets.ensure_wallet(TESTER, user))
        complete(services.wallets.get_private_key_for_user(TESTER, user))
    # 1. Done and not heard of, three times each, then answered elsewhere.
    with regions.home.on("Decrypt").answer(LostReply()):
        complete(services.wallets.get_private_key_for_user(TESTER, users[0]))
    # 2. Away altogether, and then both.
    with regions.home.on().answer(Reset()):
        for user in users:
            complete(services.signing.sign(TESTER, user, lambda: signatures.of_message(b"hello")))
        complete(services.wallets.ensure_wallet(TESTER, "made there"))
        with regions.fallback.on("Decrypt").answer(Hang()), pytest.raises(KmsError):
            complete(services.wallets.get_private_key_for_user(TESTER, users[1]))
    complete(services.audit.tell_heads())
    here = Identity(ROLE, "i-0123", "ASIAHERE", "10.0.0.7", "kms-service")
    elsewhere = replace(here, access_key="ASIATHERE", source_ip="10.9.0.7")
    records = [record_of(each, here) for each in regions.home.find_requests()]
    records += [record_of(each, elsewhere) for each in regions.fallback.find_requests()]
    write_trail(tmp_path, [each for each in records if each is not None])
    compared = Compared([tmp_path], None, None, timedelta(0), [ROLE], [], [], {})
    outcome = complete(services.cloudtrail_reconciler.reconcile(compared, lambda _done: None))
    assert outcome.reconciliation.findings == []
    assert outcome.explained


def test_the_drill_opens_wallets_with_the_second_region_alone(
    services: Services,
    regions: TwoRegions,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for number in range(5):
        complete(services.wallets.ensure_wallet(TESTER, f"user-{number}"))
    run = runner(services.settings, monkeypatch, capsys)
    monkeypatch.setenv("KMS_FALLBACK_REGION", FALLBACK)
    monkeypatch.setenv("KMS_FALLBACK_ENDPOINT_URL", regions.fallback.url)
    monkeypatch.setenv("KMS_KEY_POOL_SIZE", "4")
    with regions.home.refusing_connections():
        done = run("verify", "--region", FALLBACK, "--json")
    assert (done.code, done.facts["opened"]) == (0, 5)
    # A wallet under a key that has no replica is what the drill is there to find.
    alone = regions.home.store.create("alone")
    regions.home.store.set_alias("alias/Empressa-wallet-key-1", alone)
    complete(services.pool.refresh())
    made = (complete(services.wallets.ensure_wallet(TESTER, f"later-{n}")).wallet for n in range(500))
    lost = next(wallet for wallet in made if wallet.kms_key_id == alone.arn)
    done = run("verify", "--region", FALLBACK, "--json")
    assert done.code == 1
    assert [each["userId"] for each in done.facts["failures"]] == [lost.user_id]
