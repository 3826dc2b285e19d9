"""When a key may be retired, what its rotation leaves behind, and what is lost with it."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner, Result

from event_loop import complete
from fleet import SIZE, SOURCE, Fleet
from kms_endpoint import Material
from kms_service.bootstrap import Services
from kms_service.cli.root import root
from kms_service.errors import KeyNotFound
from kms_service.kms.pool import KeyMode
from kms_service.service.audit.log import Event
from kms_service.service.pool.materials import count_behind
from kms_service.telemetry import metrics
from wiring import TESTER, running_services

Worker = Callable[[], Services]
Command = Callable[..., Result]
MONTH = timedelta(days=30)


@pytest.fixture
def command(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs `kms-service pool …` as an operator does."""
    settings = fleet.services.settings
    monkeypatch.setenv("AWS_REGION", settings.aws_region)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", str(settings.aws_endpoint_url_kms))
    monkeypatch.setenv("DATABASE_URL", settings.database_url.get_secret_value())
    return lambda *words, **options: CliRunner().invoke(root, ["pool", *words], **options)


def _holding(fleet: Fleet, unused_for: timedelta = MONTH) -> list[bool]:
    judged = complete(fleet.services.key_lifecycle.retirement(SOURCE, unused_for=unused_for))
    return [condition.holds for condition in judged.conditions]


def test_a_key_is_safe_to_disable_once_everything_has_left_it(fleet: Fleet, worker: Worker) -> None:
    # Fresh processes wrap their audit keys with other keys, once this one is draining.
    assert _holding(fleet)[:2] == [False, False]
    fleet.drain_source()
    assert _holding(fleet)[:2] == [True, False]
    worker()
    job = fleet.start()
    assert _holding(fleet)[4] is False
    fleet.wait_for_end(job)
    assert _holding(fleet) == [True, True, True, True, True, False]
    assert _holding(fleet, timedelta(0)) == [True] * 6
    fleet.query("UPDATE key_census SET last_used_at = now() - interval '31 days'")
    with running_services(fleet.services.settings) as fresh:
        judged = complete(fresh.key_lifecycle.retirement(SOURCE, unused_for=MONTH))
    assert judged.safe
    assert "GetKeyLastUsage" in judged.conditions[-1].finding


@pytest.mark.invariant(7)
def test_audit_chains_stay_verifiable_after_the_key_is_gone(fleet: Fleet, worker: Worker) -> None:
    assert fleet.query("SELECT DISTINCT kms_key_id FROM audit_chains WHERE kms_key_id = %s", fleet.source)
    fleet.drain_source()
    worker()
    fleet.wait_for_end(fleet.start())
    fleet.kms.key(fleet.source).state = "Disabled"
    with running_services(fleet.services.settings) as fresh:
        report = complete(fresh.verifier.verify(None, {}, lambda _: None))
    assert report.intact
    complete(fleet.services.audit.record(TESTER, Event("test.event")))  # the log goes on
    with pytest.raises(Exception, match="append-only"):
        fleet.query("DELETE FROM audit_chain_keys")


@pytest.mark.invariant(7)
@pytest.mark.invariant(13)
def test_addresses_are_served_after_the_keys_that_wrapped_row_macs_are_gone(
    fleet: Fleet, worker: Worker
) -> None:
    wrapped_by = {str(row[0]) for row in fleet.query("SELECT kms_key_id FROM row_mac_keys")}
    aliases = [key.name for key in fleet.services.pool.keys if key.key_arn in wrapped_by]
    for alias in aliases[:-1]:
        complete(fleet.services.pool_service.set_mode(TESTER, alias, KeyMode.DRAINING))
        fleet.kms.key(_arn_of(fleet, alias)).state = "Disabled"
    complete(fleet.services.pool.refresh())
    judged = complete(fleet.services.key_lifecycle.retirement(aliases[-1], unused_for=MONTH))
    assert [each.finding for each in judged.conditions if "row MACs" in each.finding and not each.holds]
    complete(fleet.services.pool_service.set_mode(TESTER, aliases[-1], KeyMode.DRAINING))
    worker()
    fleet.wait_for_end(fleet.start(sources=[aliases[-1]]))
    fleet.kms.key(_arn_of(fleet, aliases[-1])).state = "Disabled"
    with running_services(fleet.services.settings) as fresh:
        assert fresh.row_macs.loaded
        wallet = complete(fresh.wallets.get_wallet("user-007"))
    assert wallet.wallet_address == fleet.addresses["user-007"]
    with pytest.raises(Exception, match="append-only"):
        fleet.query("DELETE FROM row_mac_keys")


def _arn_of(fleet: Fleet, alias: str) -> str:
    return next(str(key.key_arn) for key in fleet.services.pool.keys if key.name == alias)


def test_a_draining_key_falls_out_of_use(fleet: Fleet) -> None:
    """A process that starts takes the key of row MACs from another KMS key, whichever wrapped it first."""
    under = str(fleet.query("SELECT kms_key_id FROM row_mac_keys ORDER BY number, wrapping")[0][0])
    alias = next(key.name for key in fleet.services.pool.keys if key.key_arn == under)
    complete(fleet.services.pool_service.set_mode(TESTER, alias, KeyMode.DRAINING))
    before = fleet.kms.count("Decrypt", key=under)
    with running_services(fleet.services.settings) as fresh:
        assert fresh.row_macs.loaded
    assert fleet.kms.count("Decrypt", key=under) == before


def test_the_checklist_says_what_is_missing_and_how_to_fix_it(fleet: Fleet, command: Command) -> None:
    result = command("retire", SOURCE)
    assert result.exit_code == 1
    assert "✘ takes new wallets" in result.output
    assert f"kms-service pool drain {SOURCE}" in result.output
    assert f"✘ wallets under it: {SIZE}" in result.output
    assert "✔ no rotation is moving wallets" in result.output
    assert "Not safe to disable." in result.output
    facts = json.loads(command("retire", fleet.source, "--json").stdout)
    assert (facts["keyId"], facts["safeToDisable"]) == (fleet.source, False)
    assert fleet.kms.count("DisableKey") == fleet.kms.count("ScheduleKeyDeletion") == 0


def test_a_key_outside_the_pool_is_judged_by_its_arn(fleet: Fleet) -> None:
    key = "arn:aws:kms:eu-central-1:111122223333:key/long-gone"
    judged = complete(fleet.services.key_lifecycle.retirement(key, unused_for=MONTH))
    # Its census is empty, and this KMS does not tell: unknown is not never.
    assert [condition.holds for condition in judged.conditions] == [True] * 5 + [False]
    assert "its last use is unknown" in judged.conditions[-1].finding
    with pytest.raises(KeyNotFound):
        complete(fleet.services.key_lifecycle.retirement("nobody-knows-it", unused_for=MONTH))


def test_wallets_are_counted_by_key_material(fleet: Fleet, worker: Worker) -> None:
    key = fleet.kms.key(fleet.source)
    fleet.query("UPDATE wallets SET created_at = '2024-06-01' WHERE user_id < 'user-008'")
    key.materials.append(Material(rotated=datetime(2025, 1, 1, tzinfo=UTC).timestamp()))
    state = complete(fleet.services.pool_service.refresh())
    (found,) = [each for each in state.keys if each.info.key_arn == fleet.source]
    assert [each.wallets for each in found.materials] == [8, SIZE - 8]
    assert [each.key_material_id for each in found.materials] == [each.id for each in key.materials]
    assert count_behind(found.materials) == 8
    complete(fleet.services.pool_service._materials.take())
    assert metrics.stale_wallets.labels(found.info.alias)._value.get() == 8

    worker()
    stale = datetime(2025, 1, 1, tzinfo=UTC)
    fleet.wait_for_end(fleet.start(sources=None, wrapped_before=stale, destinations=[SOURCE]))
    fleet.query("UPDATE key_materials SET counted_in_seconds = 0")  # or a slow count would not be due again
    state = complete(fleet.services.pool_service.refresh())
    (found,) = [each for each in state.keys if each.info.key_arn == fleet.source]
    assert [each.wallets for each in found.materials] == [0, SIZE]


def test_the_share_of_wallets_lost_with_a_key_is_shown(fleet: Fleet) -> None:
    shares = [key.share for key in complete(fleet.services.pool_service.refresh()).keys]
    assert shares == [1.0] + [0.0] * 9


def test_a_key_is_rotated_on_demand_and_on_record(fleet: Fleet, command: Command) -> None:
    assert command("rotate", SOURCE, input="n\n").exit_code != 0
    assert fleet.kms.count("RotateKeyOnDemand") == 0
    result = command("rotate", SOURCE, "--yes")
    assert result.exit_code == 0, result.output
    assert len(fleet.kms.key(fleet.source).materials) == 2
    assert fleet.query("SELECT outcome, kms_key_id FROM audit_events WHERE action = 'pool.rotate'") == [
        ("ok", fleet.source)
    ]
    fleet.query("UPDATE key_materials SET counted_in_seconds = 0")  # or a slow count would not be due again
    shown = command("status")
    assert f"{SIZE} wallets of {SOURCE} were wrapped before its last rotation" in " ".join(
        shown.output.split()
    )


def test_the_limit_of_on_demand_rotations_is_reported(fleet: Fleet, command: Command) -> None:
    fleet.kms.key(fleet.source).materials += [Material(rotated=float(n)) for n in range(1, 26)]
    result = command("rotate", SOURCE, "--yes")
    assert result.exit_code != 0
    assert fleet.query("SELECT outcome FROM audit_events WHERE action = 'pool.rotate'") != [("ok",)]
