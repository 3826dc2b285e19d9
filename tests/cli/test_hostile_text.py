"""Hostile text in the tables or in arguments: no terminal obeys it, and it never looks like another line."""

import json
import unicodedata

import psycopg
import pytest

from commands import Run
from event_loop import complete
from kms_service.access.scopes import Caller, Scope
from kms_service.bootstrap import Services
from kms_service.service.audit.log import Event

HOSTILE = "a\x1b[2J\x1b]0;t\x07\r\nforged\b\x7f\x9b1m\x85\u202egnp\u2066\u200b\u2028b"
OBEYED = {"Cc", "Cf", "Zl", "Zp", "Cs"}

COMMANDS = [
    ("audit", "list"),
    ("audit", "list", "--json"),
    ("audit", "verify", "--no-heads"),
    ("audit", "verify", "--no-heads", "--json"),
    ("token", "list"),
    ("token", "list", "--json"),
    ("token", "revoke", HOSTILE),
    ("token", "create", HOSTILE, "--scope", "pool:read"),
    ("token", "create", "fine", "--scope", HOSTILE),
    ("canary", "list"),
    ("canary", "list", "--json"),
    ("canary", "add", HOSTILE),
    ("wallet", "list"),
    ("wallet", "list", "--json"),
    ("wallet", "put-back", HOSTILE),
    ("policy", "list"),
    ("policy", "list", "--json"),
    ("policy", "history", "bounds"),
    ("policy", "show", "bounds"),
    ("policy", "usage", "bounds"),
    ("policy", "show", HOSTILE),
    ("rotation", "list"),
    ("rotation", "list", "--json"),
    ("rotation", "status"),
    ("pool", "status"),
    ("pool", "status", "--json"),
    ("pool", "doctor"),
    ("pool", "retire", HOSTILE),
    ("verify",),
    ("verify", "--json"),
    ("seal", "--reason", HOSTILE),
    ("seal", "--reason", HOSTILE, "--json"),
    (HOSTILE,),
    ("token", f"--{HOSTILE}"),
]


@pytest.fixture
def plant_hostile_rows(services: Services, database_url: str) -> None:
    """Rows of the database's owner, who writes what they like into every text."""
    complete(services.wallets.create_wallet(Caller.without_bounds("test"), "alice"))
    hostile = Caller.without_bounds(HOSTILE[:64])
    complete(services.audit.record(hostile, Event("x" + HOSTILE, HOSTILE, user_id=HOSTILE, detail=HOSTILE)))
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute("SET session_replication_role = replica")
        owner.execute("UPDATE audit_chains SET process = %s", (HOSTILE,))
        owner.execute(
            "INSERT INTO wallets (user_id, wallet_address, compressed_public_key, encrypted_seed, "
            "encrypted_dek, kms_key_id, kms_region, wallet_mac, wallet_mac_key_id, created_at) SELECT %s, "
            "%s, %s, encrypted_seed, encrypted_dek, %s, %s, wallet_mac, wallet_mac_key_id, created_at "
            "FROM wallets",
            (HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE),
        )
        owner.execute(
            "INSERT INTO tokens (name, token_sha256, scopes) VALUES (%s, 'x', %s)",
            (HOSTILE, [Scope.POOL_READ, HOSTILE]),
        )
        owner.execute("INSERT INTO canary_wallets (user_id, added_by) VALUES (%s, %s)", (HOSTILE, HOSTILE))
        owner.execute(
            "INSERT INTO seal_changes (sealed, reason, actor) VALUES (false, %s, %s)", (HOSTILE,) * 2
        )
        owner.execute(
            "INSERT INTO policies (name, version, document, set_by, mac, mac_key_id, set_at) "
            "SELECT each, 1, %s, %s, 'x', gen_random_uuid(), now() FROM unnest(%s::text[]) AS each",
            (HOSTILE, HOSTILE, ["bounds", HOSTILE]),
        )


@pytest.mark.usefixtures("plant_hostile_rows")
def test_no_terminal_obeys_what_lies_in_the_tables(run: Run) -> None:
    shown = ""
    for command in COMMANDS:
        done = run(*command)
        for printed in (done.out, done.err):
            obeyed = {each for each in printed if unicodedata.category(each) in OBEYED}
            assert obeyed <= {"\n"}, (command, printed)
            assert not any(line.lstrip().startswith("forged") for line in printed.splitlines()), command
        if "--json" in command and done.code == 0:
            for line in done.out.splitlines():
                json.loads(line)
        shown += done.out
    assert "forged" in shown, "and it is shown"
