"""The commands as an operator meets them: facts on standard output, errors in one line, exit codes."""

import re
from typing import Any

import pytest

from commands import Run
from event_loop import complete, enter
from kms_endpoint import Error, KmsEndpoint
from kms_service.access import tokens
from kms_service.access.scopes import Scope
from kms_service.bootstrap import Services
from kms_service.cli.root import root
from planting import change_token, now
from wiring import holder


def test_a_token_is_made_shown_once_and_works(run: Run, services: Services) -> None:
    done = run("token", "create", "app", "--scope", "wallets:read", "--scope", "wallets:create", "--json")
    assert (done.code, done.err) == (0, "")
    made = done.facts
    assert made["scopes"] == ["wallets:create", "wallets:read"]
    assert (made["state"], made["expiresAt"], made["revokedAt"]) == ("valid", None, None)
    assert holder(services, made["token"]).scopes == {
        "wallets:create",
        "wallets:read",
    }
    for listed in (run("token", "list", "--json").out, run("token", "list").out):
        assert "app" in listed
        assert made["token"] not in listed


def test_in_plain_output_the_token_is_alone_on_the_first_line(run: Run) -> None:
    first, *rest = run("token", "create", "app", "--scope", "wallets:read").out.splitlines()
    assert tokens.digest(first) is not None
    assert "only time" in " ".join(rest)


def test_only_the_hash_is_stored(run: Run, services: Services) -> None:
    token = run("token", "create", "app", "--scope", "wallets:read", "--json").facts["token"]
    with enter(services.database.connection()) as connection:
        row = complete(connection.exec_driver_sql("SELECT * FROM tokens")).one()
    assert token not in repr(row)
    assert bytes(row.token_sha256) == tokens.digest(token)


@pytest.mark.parametrize(("span", "seconds"), [("30m", 1800), ("12h", 43_200), ("90d", 7_776_000)])
def test_a_token_can_expire(run: Run, services: Services, span: str, seconds: int) -> None:
    made = run("token", "create", "app", "--scope", "wallets:read", "--expires-in", span, "--json").facts
    assert made["expiresAt"].endswith("Z")
    (row,) = complete(services.tokens.list_all())
    assert row.expires_at is not None
    assert (row.expires_at - row.created_at).total_seconds() == seconds


def test_an_expired_token_is_shown_as_such_and_does_not_work(run: Run, services: Services) -> None:
    run("token", "create", "app", "--scope", "wallets:read", "--expires-in", "1m")
    change_token(services, "app", expires_at=now)
    assert run("token", "list", "--json").facts[0]["state"] == "expired"
    assert "expired" in run("token", "list").out


def test_a_revoked_token_stays_revoked_and_keeps_its_name(run: Run) -> None:
    run("token", "create", "app", "--scope", "wallets:read")
    first = run("token", "revoke", "app", "--json").facts
    assert first["state"] == "revoked"
    assert run("token", "revoke", "app", "--json").facts["revokedAt"] == first["revokedAt"]
    assert run("token", "revoke", "app").out == "app is revoked.\n"
    again = run("token", "create", "app", "--scope", "wallets:read")
    assert (again.code, again.out, again.err) == (1, "", "kms-service: a token named app exists already\n")


def test_every_change_of_a_token_is_on_record_under_the_operators_name(
    run: Run, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LOGNAME", "USER"):
        monkeypatch.setenv(name, "somebody-else")  # anybody sets these
    run("token", "create", "app", "--scope", "wallets:read")
    run("token", "revoke", "app")
    with enter(services.database.connection()) as connection:
        columns = "actor, action, outcome, detail"
        statement = f"SELECT {columns} FROM audit_events WHERE starts_with(action, 'token.') ORDER BY id"  # noqa: S608 # constants
        events = [tuple(row) for row in complete(connection.exec_driver_sql(statement))]
    assert [event[1:] for event in events] == [
        ("token.create", "ok", "app 1: wallets:read"),
        ("token.revoke", "ok", "app 2"),
    ]
    assert all(re.fullmatch(r"cli:.+@.+", event[0]) for event in events)
    assert not any("somebody-else" in event[0] for event in events)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (
            ("token", "create", "bad name", "--scope", "wallets:read"),
            1,
            "a token's name has 1 to 64 characters",
        ),
        (
            ("token", "create", "cli:root", "--scope", "wallets:read"),
            1,
            "a token's name has 1 to 64 characters",
        ),
        (("token", "create", "x"), 2, "Missing option '--scope'"),
        (("token", "create", "x", "--scope", "everything"), 2, "is not one of"),
        (("token", "create", "x", "--scope", "wallets:read", "--expires-in", "soon"), 2, "30m, 12h or 90d"),
        (("token", "create", "x", "--scope", "wallets:read", "--expires-in", "0d"), 2, "30m, 12h or 90d"),
        (("token", "revoke", "nobody"), 1, "no token is named nobody"),
        (("token", "nonsense"), 2, "No such command"),
        (("nonsense",), 2, "No such command"),
        (("migrate", "--revision", "nonsense"), 75, "the database could not be migrated"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_a_mistake_is_reported_in_few_words(
    run: Run, arguments: tuple[str, ...], code: int, words: str
) -> None:
    done = run(*arguments)
    assert (done.code, done.out) == (code, "")
    assert words in done.err


def _commands(group: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = [path]
    for name in group.list_commands(None) if hasattr(group, "list_commands") else ():
        found += _commands(group.get_command(None, name), (*path, name))
    return found


def test_every_command_has_help_that_says_what_it_does(run: Run) -> None:
    commands = _commands(root)
    assert {("serve",), ("migrate",), ("token", "create"), ("token", "list"), ("token", "revoke")} <= {
        *commands
    }
    for command in commands:
        done = run(*command, "--help")
        assert (done.code, done.err) == (0, ""), command
        assert done.out.startswith("Usage: "), command
        assert len(done.out.splitlines()) > 3, command
        assert "..." not in done.out.partition("Commands:")[2], "a line of the list that is cut off"


def test_the_scopes_in_the_help_are_those_that_exist(run: Run) -> None:
    shown = run("token", "create", "--help").out
    assert all(scope.value in shown for scope in Scope)


def test_migrating_twice_is_fine(run: Run) -> None:
    assert run("migrate").out == run("migrate").out == "The schema is up to date.\n"


@pytest.mark.usefixtures("services")  # which made the key of row MACs
def test_the_cause_of_an_error_is_printed_once(run: Run, kms_endpoint: KmsEndpoint) -> None:
    kms_endpoint.on("DescribeKey").answer(Error("AccessDeniedException"))
    done = run("pool", "drain", "Empressa-wallet-key-1")
    assert (done.code, done.out) == (75, "")
    assert done.err.endswith(
        "kms-service: The audit log cannot be written, so nothing was released. "
        "No key of the pool can be used: all 10: AccessDeniedException\n"
    )


@pytest.mark.parametrize("command", [("serve",), ("migrate",), ("token", "list")])
def test_an_unreachable_database_is_reported_without_its_password(
    run: Run, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody:c4n4ry@127.0.0.1:1/none")
    done = run(*command)
    assert done.code == 75
    assert "database" in done.err


@pytest.mark.parametrize("command", [("serve",), ("token", "list")])
def test_an_old_schema_is_reported_with_the_command_that_migrates_it(
    run: Run, services: Services, command: tuple[str, ...]
) -> None:
    with enter(services.database.connection()) as connection:
        complete(
            connection.exec_driver_sql(
                "UPDATE alembic_version SET version_num = '20251028000000_create_wallets'"
            )
        )
    done = run(*command)
    assert done.code == 78
    assert "run: kms-service migrate" in done.err


@pytest.mark.invariant(3)
def test_a_token_that_cannot_be_recorded_is_not_shown(run: Run, kms_endpoint: KmsEndpoint) -> None:
    with kms_endpoint.on("Encrypt").answer(Error("AccessDeniedException")):
        done = run("token", "create", "app", "--scope", "wallets:read")
    assert done.code == 75
    assert done.out == ""
    assert "kms_" not in done.err
