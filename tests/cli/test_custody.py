"""`audit`, `seal`, `canary` and `token rotate` as operators and auditors meet them."""

import json
import re
from pathlib import Path
from typing import Any

import psycopg
import pytest

from commands import Done, Run
from event_loop import complete
from kms_endpoint import KmsEndpoint
from kms_service.access.scopes import Scope
from kms_service.bootstrap import Services
from kms_service.errors import KmsKeyUnusable
from wiring import TESTER, holder


@pytest.fixture
def wallets(services: Services) -> None:
    for user in ("alice", "bob"):
        complete(services.wallets.create_wallet(TESTER, user))


def _objects(done: Done) -> list[dict[str, Any]]:
    # The test's own services log to the same stream, in plain text.
    return [json.loads(line) for line in done.out.splitlines() if line.startswith("{")]


def _tamper(database_url: str, statement: bytes) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute(b"ALTER TABLE audit_events DISABLE TRIGGER USER")
        connection.execute(statement)
        connection.execute(b"ALTER TABLE audit_events ENABLE TRIGGER USER")


@pytest.mark.usefixtures("wallets")
def test_verify_reports_an_untouched_log_as_intact(run: Run) -> None:
    done = run("audit", "verify", "--no-heads")
    assert (done.code, done.err) == (0, "")
    assert done.out == (
        "3 rows in 1 chain: as they were written\n"
        "1 chain has no closing row (processes running or killed)\n"
        "no head outside the database is known, so nobody can tell what came before the log's first row, "
        "or was cut off after a last one\n"
    )
    assert run("audit", "verify", "--no-heads", "--json").facts == {
        "intact": True, "chains": 1, "rows": 3, "unclosed": 1, "heads": 0, "headsFrom": None, "found": 0,
        "findings": [],
    }  # fmt: skip


@pytest.mark.usefixtures("wallets")
def test_verify_without_heads_does_not_pass(run: Run) -> None:
    done = run("audit", "verify")
    assert (done.code, done.err) == (1, "")
    assert "3 rows in 1 chain: as they were written" in done.out
    assert "nobody can tell what came before the log's first row" in done.out
    assert "accept it with --no-heads" in done.out
    done = run("audit", "verify", "--json")
    assert (done.code, done.facts["intact"], done.facts["heads"]) == (1, True, 0)


def test_heads_and_no_heads_exclude_each_other(run: Run, tmp_path: Path) -> None:
    (tmp_path / "log").touch()
    done = run("audit", "verify", "--no-heads", "--heads", str(tmp_path / "log"))
    assert (done.code, "exclude each other" in done.err) == (2, True)


@pytest.mark.usefixtures("wallets")
def test_a_log_that_was_emptied_and_begun_anew_is_named(run: Run, database_url: str) -> None:
    _tamper(database_url, b"ALTER TABLE audit_chains DISABLE TRIGGER USER")
    _tamper(database_url, b"TRUNCATE audit_chains, audit_events")
    for arguments in (("--no-heads",), ()):
        done = run("audit", "verify", *arguments)
        assert done.code == 1
        assert "chain 1 was removed from audit_chains: the database gave the number out" in done.out
    assert run("token", "create", "another", "--scope", "pool:read").code == 0, "a new chain is opened"
    assert "chain 1 was removed from audit_chains" in run("audit", "verify", "--no-heads").out
    _tamper(database_url, b"TRUNCATE audit_chains, audit_events, audit_chain_numbers")
    assert "audit_chain_numbers was emptied" in run("audit", "verify", "--no-heads").out


@pytest.mark.usefixtures("wallets")
def test_a_found_event_is_listed_under_the_same_id(run: Run, database_url: str) -> None:
    _tamper(database_url, b"UPDATE audit_events SET outcome = 'ko' WHERE seq = 2")
    (named,) = re.findall(r"\(event (\d+)\)", run("audit", "verify", "--no-heads").out)
    (listed,) = run("audit", "list", "--outcome", "ko").out.splitlines()
    assert listed.split()[0] == named


@pytest.mark.usefixtures("wallets")
def test_verify_names_the_row_and_exits_1(run: Run, database_url: str) -> None:
    _tamper(database_url, b"UPDATE audit_events SET user_id = 'mallory' WHERE seq = 2")
    done = run("audit", "verify")
    assert (done.code, done.err) == (1, "")
    assert done.out.splitlines()[:2] == [
        "row 2 of chain 1 (event 2) was changed",
        "3 rows in 1 chain: 1 chain is NOT as it was written",
    ]
    done = run("audit", "verify", "--json")
    assert done.code == 1
    (finding,) = done.facts["findings"]
    assert (finding["fault"], finding["number"], finding["seq"], finding["id"]) == ("changed", 1, 2, 2)


@pytest.mark.usefixtures("wallets")
def test_verify_holds_the_table_against_the_log_stream(run: Run, database_url: str, tmp_path: Path) -> None:
    with psycopg.connect(database_url) as connection:
        chain, seq, mac = connection.execute(
            "SELECT chain_id, seq, mac FROM audit_events WHERE seq = 3"
        ).fetchone() or ("", 0, b"")
    head = {"event": "audit_head", "chain": str(chain), "number": 1, "seq": seq, "mac": mac.hex()}
    log = tmp_path / "service.log"
    older = json.dumps({**head, "seq": 1, "mac": "00" * 32})
    broken = '{"event": "audit_head", "chain": "x"}\nno json audit_head {\n'
    log.write_text(f"{older}\n{broken}2026-01-01 pod-1 {json.dumps(head)}\n")
    assert run("audit", "verify", "--heads", str(log)).code == 0
    _tamper(database_url, b"DELETE FROM audit_events WHERE seq = 3")
    assert run("audit", "verify", "--no-heads").code == 0
    done = run("audit", "verify", "--heads", str(log))
    assert done.code == 1
    assert done.out.startswith(
        "row 3 of chain 1 and all after it were cut off: heads outside the database prove it\n"
    )
    log.write_text("nothing\n")
    done = run("audit", "verify", "--heads", str(log))
    assert (done.code, done.out) == (1, "")
    assert "no audit_head event" in done.err


@pytest.mark.parametrize("since", ["1h", "2026-01-31", "2026-01-31T12:00:00Z", "2026-01-31T12:00:00+02:00"])
@pytest.mark.usefixtures("wallets")
def test_since_takes_moments_and_spans(run: Run, since: str) -> None:
    assert run("audit", "verify", "--no-heads", "--since", since).code == 0
    assert len(run("audit", "list", "--since", since, "--json").out.splitlines()) == 3


@pytest.mark.parametrize("since", ["yesterday", "1y", "0h", ""])
def test_other_times_are_a_usage_error(run: Run, since: str) -> None:
    done = run("audit", "verify", "--since", since)
    assert done.code == 2
    assert "must look like" in done.err


@pytest.mark.usefixtures("wallets")
def test_events_are_listed_by_filter_newest_first(run: Run) -> None:
    lines = run("audit", "list").out.splitlines()
    assert [re.split(r"  +", line.strip())[3:] for line in lines] == [
        ["wallet.create", "ok", "bob"],
        ["wallet.create", "ok", "alice"],
        ["audit.open", "ok", lines[2].rpartition("  ")[2].strip()],
    ]
    (event,) = map(json.loads, run("audit", "list", "--user", "bob", "--json").out.splitlines())
    assert (event["userId"], event["action"]) == ("bob", "wallet.create")
    assert len(run("audit", "list", "--limit", "1").out.splitlines()) == 1


def test_events_are_listed_by_outcome_and_key(
    run: Run, services: Services, kms_endpoint: KmsEndpoint
) -> None:
    wallets = {
        user: complete(services.wallets.ensure_wallet(TESTER, user)).wallet for user in ("alice", "bob")
    }
    key = next(key for key in services.pool.keys if key.key_arn == wallets["alice"].kms_key_id)
    kms_endpoint.key(key.alias).state = "Disabled"
    with pytest.raises(KmsKeyUnusable):
        complete(services.wallets.get_private_key_for_user(TESTER, "alice"))
    refused = run("audit", "list", "--outcome", "kms_key_unusable", "--limit", "1", "--json").facts
    assert (refused["userId"], refused["kmsKeyId"]) == ("alice", key.key_arn)
    by_alias = run("audit", "list", "--key", key.name).out
    assert "private_key.read" in by_alias
    assert by_alias == run("audit", "list", "--key", str(key.key_arn)).out
    assert ("bob" in by_alias) == (wallets["bob"].kms_key_id == key.key_arn)
    unknown = run("audit", "list", "--key", "no-such-key")
    assert unknown.code == 1
    assert "no-such-key names no key" in unknown.err


def test_wallets_are_listed_by_key_with_the_key_of_row_macs_alone(
    run: Run, services: Services, kms_endpoint: KmsEndpoint
) -> None:
    made = [complete(services.wallets.ensure_wallet(TESTER, f"user-{number}")).wallet for number in range(12)]
    key = made[0].kms_key_id
    before = len(kms_endpoint.find_requests())
    listed = _objects(run("wallet", "list", "--key", key, "--json"))
    under_it = sorted((wallet.user_id, wallet.wallet_address) for wallet in made if wallet.kms_key_id == key)
    assert [(wallet["userId"], wallet["walletAddress"]) for wallet in listed] == under_it
    asked = [(each.operation, each.context["purpose"]) for each in kms_endpoint.find_requests()[before:]]
    assert asked == [("Decrypt", "row-mac")]


def test_wallets_are_listed_in_pieces(run: Run, services: Services) -> None:
    for number in range(4):
        complete(services.wallets.ensure_wallet(TESTER, f"user-{number}"))
    first = run("wallet", "list", "--limit", "3", "--json")
    assert [wallet["userId"] for wallet in _objects(first)] == ["user-0", "user-1", "user-2"]
    assert "--after 'user-2'" in first.err
    rest = run("wallet", "list", "--after", "user-2")
    assert [line.split()[0] for line in rest.out.splitlines() if "arn:" in line] == ["user-3"]
    assert "--after" not in rest.err


@pytest.mark.usefixtures("wallets")
def test_seal_needs_a_reason_and_unseal_lifts_it(run: Run, services: Services) -> None:
    done = run("seal", "--reason", "a drill")
    assert (done.code, done.err) == (0, "")
    assert re.fullmatch(
        r"Sealed since [\d-]+ [\d:]+ UTC\. Run kms-service unseal to allow releases again\.\n", done.out
    )
    assert complete(services.shared_state.recent(0)).sealed
    facts = run("unseal", "--json").facts
    assert (facts["sealed"], facts["actor"][:4]) == (False, "cli:")
    assert not complete(services.shared_state.recent(0)).sealed
    assert run("seal", "--reason", " ").code == 1
    assert run("seal").code == 2


@pytest.mark.usefixtures("wallets")
def test_canaries_are_marked_listed_and_unmarked(run: Run) -> None:
    assert run("canary", "add", "alice").out == "The wallet of alice is a canary.\n"
    assert [each["userId"] for each in run("canary", "list", "--json").facts] == ["alice"]
    assert run("canary", "list").out.startswith("alice ")
    assert run("canary", "remove", "alice").code == 0
    assert run("canary", "list").out == ""
    assert run("canary", "add", "nobody").err == "kms-service: This user has no wallet.\n"


def test_a_token_is_rotated(run: Run, services: Services) -> None:
    made = run(
        "token", "create", "app", "--scope", "wallets:read", "--private-key-reads-per-minute", "5",
        "--signatures-per-minute", "7", "--json",
    ).facts  # fmt: skip
    assert (made["privateKeyReadsPerMinute"], made["signaturesPerMinute"]) == (5, 7)
    rotated = run("token", "rotate", "app", "--overlap", "30m", "--json").facts
    assert rotated["token"] != made["token"]
    assert rotated["previousExpiresAt"] > rotated["createdAt"]
    for secret in (made["token"], rotated["token"]):
        caller = holder(services, secret)
        assert caller.scopes == {Scope.WALLETS_READ}
        assert (caller.private_key_reads_per_minute, caller.signatures_per_minute) == (5, 7)
    assert run("token", "rotate", "nobody").err == "kms-service: no valid token is named nobody\n"


def test_last_use_is_listed(run: Run, services: Services) -> None:
    secret = run("token", "create", "app", "--scope", "wallets:read", "--json").facts["token"]
    assert "never used" in run("token", "list").out
    holder(services, secret)
    complete(services.authenticator.note_last_use())
    assert re.search(r"app +valid +used \d{4}-", run("token", "list").out)
