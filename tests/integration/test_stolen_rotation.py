"""The rotating role's login in somebody else's hands, and a KMS that lies: no wallet is lost for good."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege

from commands import Run, runner
from event_loop import complete
from kms_service.bootstrap import Services
from kms_service.errors import IntegrityFailure
from kms_service.service.wallets.dek_history import Outcome, PutBack
from kms_service.settings import Settings
from wiring import TESTER, as_role

USERS = ("alice", "bob", "carol")
RUBBISH = "UPDATE wallets SET encrypted_dek = '\\x00', dek_wrapped_at = now()"


@pytest.fixture
def run(settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(settings, monkeypatch, capsys)


@pytest.fixture
def thief(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    """Whoever has the rotation worker's login."""
    with psycopg.connect(as_role(database_url, "kms_rotate"), autocommit=True) as connection:
        yield connection


@pytest.fixture
def keys(services: Services) -> dict[str, bytes]:
    """Each user's private key, of wallets just made."""
    for user in USERS:
        complete(services.wallets.create_wallet(TESTER, user))
    return _keys(services)


def _keys(services: Services) -> dict[str, bytes]:
    return {user: _key_of(services, user) for user in USERS}


def _key_of(services: Services, user: str) -> bytes:
    return complete(services.wallets.get_private_key_for_user(TESTER, user)).private_key.reveal()


def test_a_dek_that_the_rotating_role_overwrites_is_restored(
    services: Services, thief: psycopg.Connection[Any], keys: dict[str, bytes], run: Run
) -> None:
    for _ in range(3):
        thief.execute(RUBBISH)
        thief.execute("UPDATE wallets SET encrypted_dek = sha256(user_id::bytea)")
    with pytest.raises(IntegrityFailure):
        complete(services.wallets.get_private_key_for_user(TESTER, "alice"))
    done = run("wallet", "put-back", "--all")
    assert (done.code, done.out.splitlines()[-3:]) == (0, [f"{user}: put back" for user in USERS])
    assert _keys(services) == keys
    again = run("wallet", "put-back", "alice", "--json")
    assert (again.code, again.facts["outcome"]) == (0, "opens")


def test_an_overtaken_restore_looks_again(
    services: Services, thief: psycopg.Connection[Any], keys: dict[str, bytes]
) -> None:
    """Of several who restore one wallet at once, one puts its DEK back; for the others it opens."""
    for _ in range(2):
        thief.execute(RUBBISH)

    async def all_at_once() -> list[PutBack]:
        return await asyncio.gather(*(services.dek_restorer.restore(TESTER, "alice") for _ in range(4)))

    outcomes = Counter(done.outcome for done in complete(all_at_once()))
    assert outcomes == {Outcome.PUT_BACK: 1, Outcome.OPENS: 3}
    assert _key_of(services, "alice") == keys["alice"]


def test_a_wallet_that_keeps_changing_is_not_called_lost(
    database_url: str, thief: psycopg.Connection[Any], keys: dict[str, bytes], run: Run
) -> None:
    assert keys
    thief.execute(RUBBISH)
    with psycopg.connect(database_url, autocommit=True) as owner:
        # As if the wallet's DEK had just been changed, every time.
        owner.execute(
            "CREATE OR REPLACE FUNCTION put_back_wrapped_dek(p_history_id bigint, p_current_dek bytea) "
            "RETURNS boolean LANGUAGE sql AS 'SELECT false'"
        )
    done = run("wallet", "put-back", "alice")
    assert (done.code, done.out.splitlines()[-1]) == (1, "alice: changed meanwhile")


def test_many_replacements_hide_nothing(
    services: Services, thief: psycopg.Connection[Any], keys: dict[str, bytes], run: Run
) -> None:
    for _ in range(30):
        thief.execute("UPDATE wallets SET encrypted_dek = sha256(encrypted_dek) WHERE user_id = 'alice'")
    assert run("wallet", "put-back", "alice").code == 0
    assert _keys(services) == keys


def test_the_log_says_who_replaced_a_dek(
    thief: psycopg.Connection[Any], keys: dict[str, bytes], run: Run
) -> None:
    assert keys
    thief.execute(RUBBISH)
    run("wallet", "put-back", "bob")
    listed = run("audit", "list", "--action", "wallet.put-back", "--json").facts
    assert listed["userId"] == "bob"
    assert listed["detail"].startswith("replaced by kms_rotate_login at ")


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM wallet_dek_history",
        "DELETE FROM wallet_dek_history",
        "UPDATE wallet_dek_history SET encrypted_dek = ''",
        "INSERT INTO wallet_dek_history (user_id) VALUES ('alice')",
        "SELECT put_back_wrapped_dek(1, '')",
        "ALTER TABLE wallets DISABLE TRIGGER USER",
    ],
)
def test_the_rotating_role_does_not_reach_the_history(
    thief: psycopg.Connection[Any], keys: dict[str, bytes], statement: str
) -> None:
    assert keys
    thief.execute(RUBBISH)
    with pytest.raises(InsufficientPrivilege):
        thief.execute(statement.encode())


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM wallet_dek_history",
        "UPDATE wallet_dek_history SET replaced_at = '2020-01-01'",
        "TRUNCATE wallet_dek_history",
    ],
)
def test_nobody_drops_or_changes_the_history_within_its_time(
    database_url: str, thief: psycopg.Connection[Any], keys: dict[str, bytes], statement: str
) -> None:
    assert keys
    thief.execute(RUBBISH)
    with (
        psycopg.connect(database_url, autocommit=True) as owner,
        pytest.raises(InsufficientPrivilege),
    ):
        owner.execute(statement.encode())


def test_a_replaced_dek_is_deleted_when_it_is_old_and_the_wallet_opens_without_it(
    services: Services, database_url: str, thief: psycopg.Connection[Any], keys: dict[str, bytes], run: Run
) -> None:
    thief.execute(RUBBISH)
    assert run("wallet", "put-back", "alice").code == 0
    assert run("wallet", "forget-replaced").out == "0 replaced DEKs forgotten.\n"
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute("ALTER TABLE wallet_dek_history DISABLE TRIGGER USER")
        owner.execute("UPDATE wallet_dek_history SET replaced_at = replaced_at - interval '31 days'")
        owner.execute("ALTER TABLE wallet_dek_history ENABLE TRIGGER USER")
    assert run("wallet", "forget-replaced").out == "2 replaced DEKs forgotten.\n"
    assert run("wallet", "put-back", "--all").code == 0
    assert _keys(services) == keys
