"""`kms-service verify`: it opens the wallets, reports those that fail, and releases nothing."""

import asyncio
import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from event_loop import complete
from fleet import SIZE, SOURCE, Fleet
from kms_endpoint import Error
from kms_service.cli.root import root
from kms_service.errors import IntegrityFailure
from kms_service.service.wallets import verify as verification
from kms_service.settings import Settings
from kms_service.store.wallets import walk as wallet_walk
from wiring import TESTER

Verify = Callable[..., Result]


@pytest.fixture
def verify(settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Verify:
    """Runs the command as an operator does."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AWS_REGION", settings.aws_region)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", str(settings.aws_endpoint_url_kms))
    monkeypatch.setenv("DATABASE_URL", settings.database_url.get_secret_value())
    monkeypatch.setattr(wallet_walk, "STRETCH_WALLETS", 5)
    monkeypatch.setattr(verification, "BACK_OFF_SECONDS", (0.01, 0.01))
    return lambda *options: CliRunner().invoke(root, ["verify", "--at-once", "2", *options])


def _facts(result: Result) -> dict[str, object]:
    return dict(json.loads(result.stdout.splitlines()[-1]))


def test_all_wallets_open_and_one_row_is_written(fleet: Fleet, verify: Verify) -> None:
    before = fleet.kms.count("Decrypt")
    result = verify("--json")
    assert result.exit_code == 0, result.output
    assert _facts(result).items() >= {"complete": True, "total": SIZE, "opened": SIZE, "failed": 0}.items()
    assert fleet.kms.count("Decrypt") - before == SIZE + 1  # the key of row MACs
    events = fleet.query("SELECT action, outcome, detail FROM audit_events WHERE action = 'wallets.verify'")
    assert events == [
        ("wallets.verify", "ok", f"opened={SIZE} failed=0 key=any since=None share=1 after=- to=end")
    ]


def test_nothing_secret_is_printed(fleet: Fleet, verify: Verify) -> None:
    key = (
        complete(fleet.services.wallets.get_private_key_for_user(TESTER, "user-000"))
        .private_key.reveal()
        .hex()
    )
    fleet.query("UPDATE wallets SET encrypted_seed = '\\x01' WHERE user_id = 'user-001'")
    assert key not in verify().output
    assert key not in verify("--json").output


@pytest.mark.invariant(4)
@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ("encrypted_seed = set_byte(encrypted_seed, 20, 255 - get_byte(encrypted_seed, 20))", "seed tag"),
        ("encrypted_dek = '\\x00'", "InvalidCiphertextException"),
        ("wallet_address = '0x' || repeat('0', 40)", "InvalidCiphertextException"),
    ],
)
def test_a_wallet_that_does_not_open_is_named(fleet: Fleet, verify: Verify, damage: str, reason: str) -> None:
    fleet.query(f"UPDATE wallets SET {damage} WHERE user_id = 'user-007'")  # noqa: S608 # a test's own words
    result = verify("--json")
    assert result.exit_code == 1
    facts = _facts(result)
    assert (facts["opened"], facts["failed"]) == (SIZE - 1, 1)
    failures = [each for each in facts["failures"] if each["code"] == "integrity_failure"]  # type: ignore[attr-defined] # a list
    assert failures == [
        {"userId": "user-007", "kmsKeyId": fleet.source, "code": "integrity_failure", "reason": reason}
    ]
    assert f"user-007  integrity_failure: {reason}" in result.stderr


@pytest.mark.invariant(13)
def test_wallets_older_than_macs_get_theirs_once_they_have_opened(fleet: Fleet, verify: Verify) -> None:
    fleet.query(
        "UPDATE wallets SET compressed_public_key = NULL, wallet_mac = NULL, wallet_mac_key_id = NULL "
        "WHERE user_id < 'user-010'"
    )
    broken = "UPDATE wallets SET encrypted_seed = '\\x01' WHERE user_id = 'user-003'"
    fleet.query(broken)
    without = verify("--json")
    assert (without.exit_code, _facts(without)["failed"], _facts(without)["authenticated"]) == (1, 10, 0)
    with pytest.raises(IntegrityFailure):
        complete(fleet.services.wallets.get_wallet("user-001"))

    first = verify("--authenticate", "--json")
    assert (first.exit_code, _facts(first)["failed"], _facts(first)["authenticated"]) == (1, 1, 9)
    assert verify("--authenticate").output.count("got a MAC") == 0
    for name, address in fleet.addresses.items():
        if name != "user-003":
            assert complete(fleet.services.wallets.get_wallet(name)).wallet_address == address
    with pytest.raises(IntegrityFailure):
        complete(fleet.services.wallets.get_wallet("user-003"))
    details = fleet.query("SELECT detail FROM audit_events WHERE action = 'wallets.verify' ORDER BY id")
    assert [" authenticated=9" in str(detail) for (detail,) in details] == [False, True, False]


@pytest.mark.invariant(13)
def test_a_wrong_mac_is_never_made_right(fleet: Fleet, verify: Verify) -> None:
    fleet.query("UPDATE wallets SET wallet_mac = '\\x00' WHERE user_id = 'user-004'")
    assert _facts(verify("--authenticate", "--json"))["failures"] == [
        {"userId": "user-004", "kmsKeyId": fleet.source, "code": "integrity_failure", "reason": "row MAC"}
    ]
    with pytest.raises(IntegrityFailure):
        complete(fleet.services.wallets.get_wallet("user-004"))


def test_wallets_and_the_audit_log_are_reconciled(fleet: Fleet, verify: Verify) -> None:
    wallet = fleet.query("SELECT * FROM wallets WHERE user_id = 'user-007'")
    fleet.query("DELETE FROM wallets WHERE user_id IN ('user-007', 'user-023')")
    fleet.query("UPDATE wallets SET user_id = 'nobody-made-me' WHERE user_id = 'user-011'")
    assert wallet
    result = verify("--json")
    assert result.exit_code == 1
    found = {
        (each["userId"], each["reason"])
        for each in _facts(result)["failures"]  # type: ignore[attr-defined] # a list
        if each["code"] == "unreconciled"
    }
    assert found == {
        ("user-007", "its audit row is there, and no wallet"),
        ("user-011", "its audit row is there, and no wallet"),
        ("user-023", "its audit row is there, and no wallet"),
        ("nobody-made-me", "no audit row of its creation"),
    }
    assert _facts(result)["unreconciled"] == 4
    assert "unreconciled: no audit row of its creation" in result.stderr
    assert "4 wallets and rows of the audit log do not match" in verify().output


def test_swapped_seeds_are_named(fleet: Fleet, verify: Verify) -> None:
    fleet.query(
        "UPDATE wallets SET encrypted_seed = other.encrypted_seed, encrypted_dek = other.encrypted_dek "
        "FROM wallets AS other WHERE wallets.user_id = 'user-001' AND other.user_id = 'user-002'"
    )
    assert _facts(verify("--json"))["failed"] == 1


@pytest.mark.usefixtures("fleet")
def test_a_run_continues_where_another_stopped(verify: Verify) -> None:
    result = verify("--json", "--after", "user-019")
    assert _facts(result).items() >= {"total": 4, "passed": 4, "opened": 4, "complete": True}.items()


def test_a_stopped_run_says_where_to_continue(
    fleet: Fleet, verify: Verify, monkeypatch: pytest.MonkeyPatch
) -> None:
    walked = wallet_walk.WalletWalk.next

    async def walk_interrupted(
        walk: wallet_walk.WalletWalk, chosen: wallet_walk.Chosen, after: str
    ) -> wallet_walk.Stretch | None:
        if after == "user-009":
            signal.raise_signal(signal.SIGINT)  # Ctrl-C
            await asyncio.Event().wait()  # until the signal ends the run
        return await walked(walk, chosen, after)

    monkeypatch.setattr(wallet_walk.WalletWalk, "next", walk_interrupted)
    result = verify()
    assert result.exit_code == 130
    assert "--after 'user-009'" in result.output
    assert fleet.query("SELECT detail FROM audit_events WHERE action = 'wallets.verify'") == [
        ("opened=10 failed=0 key=any since=None share=1 after=- to=user-009",)
    ]


@pytest.mark.usefixtures("fleet")
def test_a_sample_opens_a_share(verify: Verify) -> None:
    facts = _facts(verify("--json", "--sample", "40%"))
    assert facts["passed"] == SIZE
    assert 0 < int(str(facts["opened"])) < SIZE


def test_a_run_can_be_limited_to_one_key_or_one_time(fleet: Fleet, verify: Verify) -> None:
    assert _facts(verify("--json", "--key", SOURCE))["opened"] == SIZE
    assert _facts(verify("--json", "--key", "Empressa-wallet-key-2"))["opened"] == 0
    fleet.query("UPDATE wallets SET created_at = '2020-01-01'")
    fleet.query("UPDATE wallets SET dek_wrapped_at = '2026-01-01' WHERE user_id < 'user-003'")
    assert _facts(verify("--json", "--since", "2025-01-01T00:00:00Z"))["opened"] == 3


def test_a_key_that_refuses_is_a_failure_and_throttling_is_not(fleet: Fleet, verify: Verify) -> None:
    fleet.kms.on("Decrypt").times(3).answer(Error("ThrottlingException"))
    assert verify("--json").exit_code == 0
    fleet.kms.key(fleet.source).state = "Disabled"
    result = verify("--json")
    assert result.exit_code == 1
    assert _facts(result)["failed"] == SIZE


@pytest.mark.parametrize("options", [("--sample", "0%"), ("--sample", "half"), ("--key", "nobody-knows-it")])
def test_options_that_make_no_sense_are_refused(verify: Verify, options: tuple[str, ...]) -> None:
    result = verify(*options)
    assert result.exit_code != 0
