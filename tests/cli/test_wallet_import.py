"""`kms-service wallet import`: typed or piped in, never an argument; and `wallet list` with a changed row."""

import json
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner, Result

from adoption.conftest import command_environment
from event_loop import complete
from kms_service.bootstrap import Services
from kms_service.cli.root import root
from kms_service.errors import WalletNotFound
from kms_service.settings import Settings
from wiring import TESTER

Command = Callable[..., Result]
PHRASE = "test test test test test test test test test test test junk"
KEY = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
ADDRESS = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"


@pytest.fixture
def command(
    services: Services, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Command:
    """Runs `kms-service wallet …` as an operator does, with this on standard input."""
    assert services.pool.described  # checked at start, so the keys are there
    for name, value in command_environment(settings).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    return lambda *options, typed="": CliRunner().invoke(root, ["wallet", *options], input=typed)


@pytest.mark.parametrize(
    "typed",
    [PHRASE, f"  {PHRASE.upper()}\n", PHRASE.replace(" ", "\n "), KEY, f"0x{KEY}\n", f"0X{KEY.upper()}"],
)
def test_a_wallet_is_imported(command: Command, services: Services, typed: str) -> None:
    result = command("import", "alice", "--json", typed=typed)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout.splitlines()[-1])["walletAddress"] == ADDRESS
    assert (
        complete(services.wallets.get_private_key_for_user(TESTER, "alice")).private_key.reveal().hex() == KEY
    )
    assert KEY not in result.output.lower()
    assert "junk" not in result.output.lower()


def test_the_import_is_on_record_with_its_operator(command: Command, services: Services) -> None:
    command("import", "alice", typed=KEY)
    with psycopg.connect(services.settings.database_url.get_secret_value()) as connection:
        rows = connection.execute(
            "SELECT actor ~ '^cli:', outcome, wallet_address FROM audit_events WHERE action = 'wallet.import'"
        ).fetchall()
    assert rows == [(True, "ok", ADDRESS)]


@pytest.mark.parametrize(
    ("typed", "reason"),
    [
        ("", "does not have 12"),
        ("canary", "does not have 12"),
        ("test " * 11 + "test", "has a wrong checksum"),
        ("canary " * 12, "has a word that is not in"),
        ("0" * 64, "private key out of range"),
        ("f" * 64, "private key out of range"),
        (KEY[:-1], "does not have 12"),
    ],
)
def test_anything_that_is_not_a_wallet_is_refused_without_repeating_it(
    command: Command, services: Services, typed: str, reason: str
) -> None:
    result = command("import", "alice", typed=typed)
    assert result.exit_code == 1
    assert reason in str(result.exception)
    assert "canary" not in result.output + repr(result.exception)
    with pytest.raises(WalletNotFound):
        complete(services.wallets.get_wallet("alice"))


def test_a_user_and_an_address_are_imported_once(command: Command) -> None:
    assert command("import", "alice", typed=KEY).exit_code == 0
    assert "already has a wallet" in str(command("import", "alice", typed="1" * 64).exception)
    assert "Another user has this wallet" in str(command("import", "bob", typed=PHRASE).exception)


@pytest.mark.parametrize("user", ["", "a b", "a" * 129, "..", "a\n"])
def test_an_invalid_user_id_is_refused(command: Command, user: str) -> None:
    assert command("import", user, typed=KEY).exit_code == 1


@pytest.mark.invariant(13)
def test_a_list_shows_no_address_of_a_changed_row(command: Command, services: Services) -> None:
    for user in ("alice", "bob", "carol"):
        complete(services.wallets.create_wallet(TESTER, user))
    planted = "0x" + "ab" * 20
    with psycopg.connect(services.settings.database_url.get_secret_value()) as connection:
        connection.execute("UPDATE wallets SET wallet_address = %s WHERE user_id = 'bob'", (planted,))
    for options in ([], ["--json"]):
        result = command("list", *options)
        assert result.exit_code == 1
        assert planted not in result.output
        assert "alice" in result.stdout
        assert "carol" in result.stdout
        assert "bob  integrity_failure" in result.stderr
