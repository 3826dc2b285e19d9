"""Tokens older than MACs: refused, shown to a person, and confirmed one by one."""

import io
import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from commands import Run
from event_loop import complete
from kms_service.bootstrap import Services
from kms_service.errors import NotAuthenticated, TokenIntegrityFailure
from wiring import TESTER, holder


@pytest.fixture
def owner(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    """The database's owner, past all triggers."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        yield connection


@pytest.fixture
def old(run: Run, owner: psycopg.Connection[Any]) -> str:
    """A token `app` as the version before left it, in its row and in the log."""
    limits = ("--private-key-reads-per-minute", "5")
    token = run("token", "create", "app", "--scope", "wallets:read", *limits, "--json").facts["token"]
    owner.execute("UPDATE tokens SET version = NULL, mac = NULL, mac_key_id = NULL")
    owner.execute("UPDATE audit_events SET detail = 'app: wallets:read' WHERE action = 'token.create'")
    return str(token)


def _is_good(services: Services, token: str) -> bool:
    try:
        holder(services, token)
    except NotAuthenticated:
        return False
    return True


def test_a_token_without_a_mac_is_refused_until_a_person_confirms_it(
    run: Run, services: Services, old: str
) -> None:
    assert run("token", "list", "--json").facts[0]["refused"] == "row without a MAC"
    listed = run("token", "confirm")
    assert (listed.code, listed.err) == (0, "")
    for told in ("app", "wallets:read", "5 private-key reads", "any number of signatures", "never", "--yes"):
        assert told in listed.out
    assert "NO ROW" not in listed.out
    done = run("token", "confirm", "--yes", "app")
    assert done.out.endswith("app is confirmed.\n")
    assert _is_good(services, old)
    assert run("token", "confirm").out == "Every valid token has its MAC.\n"
    log = run("audit", "list", "--action", "token.confirm", "--json").out
    assert json.loads(log)["detail"] == "app 1: wallets:read"


def test_an_unconfirmed_token_opens_nothing(services: Services, old: str) -> None:
    assert not _is_good(services, old)
    with pytest.raises(TokenIntegrityFailure, match="kms-service token confirm"):
        complete(services.tokens.set_policy(TESTER, "app", None))


def test_on_a_terminal_each_token_is_confirmed_by_itself(
    run: Run, services: Services, old: str, owner: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    owner.execute("INSERT INTO tokens (name, token_sha256, scopes) VALUES ('planted', 'x', '{wallets:sign}')")
    answers = io.StringIO("y\nn\n")
    monkeypatch.setattr(answers, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stdin", answers)
    done = run("token", "confirm")
    assert done.out.endswith("app is confirmed.\n")
    assert _is_good(services, old)
    waiting = run("token", "confirm", "--json").facts
    assert [(each["name"], each["createdOnRecord"]) for each in waiting] == [("planted", False)]


def test_a_token_that_is_not_in_the_log_is_reported(run: Run, owner: psycopg.Connection[Any]) -> None:
    """With a name that would steer a terminal, as the owner of the database may choose one."""
    owner.execute(
        "INSERT INTO tokens (name, token_sha256, scopes) VALUES (%s, 'x', '{wallets:sign}')",
        ("app\x1b[2Kfine",),
    )
    out = run("token", "confirm").out
    assert "NO ROW OF THE AUDIT LOG TELLS OF THAT" in out
    assert "\x1b" not in out


def test_a_token_that_once_had_a_mac_is_not_confirmed(
    run: Run, services: Services, owner: psycopg.Connection[Any]
) -> None:
    """A token that was widened and stripped of its MAC does not pass for an old one: the log knows it."""
    token = run("token", "create", "app", "--scope", "wallets:read", "--json").facts["token"]
    owner.execute("UPDATE tokens SET version = NULL, mac = NULL, scopes = '{private-keys:read}'")
    assert "it had a MAC before" in run("token", "confirm").out
    refused = run("token", "confirm", "--yes", "app")
    assert (refused.code, "revoke it" in refused.err) == (1, True)
    (waiting,) = complete(services.tokens.list_unconfirmed())
    with pytest.raises(TokenIntegrityFailure):
        complete(services.tokens.confirm(TESTER, waiting))
    assert not _is_good(services, token)


def test_only_the_row_that_was_shown_is_confirmed(
    services: Services, old: str, owner: psycopg.Connection[Any]
) -> None:
    """The row is widened between the look and the confirmation."""
    (waiting,) = complete(services.tokens.list_unconfirmed())
    owner.execute("UPDATE tokens SET scopes = '{wallets:read,private-keys:read}'")
    complete(services.tokens.confirm(TESTER, waiting))
    assert holder(services, old).scopes == {"wallets:read"}


@pytest.mark.usefixtures("old")
def test_only_a_token_that_waits_is_confirmed(run: Run) -> None:
    done = run("token", "confirm", "--yes", "nobody")
    assert (done.code, done.out) == (1, "")
    assert "no token named nobody is waiting for confirmation" in done.err
    run("token", "revoke", "app")
    assert run("token", "confirm").out == "Every valid token has its MAC.\n"


@pytest.mark.usefixtures("old")
def test_the_list_works_without_kms(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", "http://127.0.0.1:1")
    done = run("token", "list")
    assert done.code == 0
    assert "app" in done.out
    assert "MACs are not checked" in done.err
