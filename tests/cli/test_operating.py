"""The commands of an operator's day: the pool, rotations, the seal, canaries, the audit log."""

import pytest

from commands import Run
from event_loop import complete
from kms_endpoint import KmsEndpoint
from kms_service.bootstrap import Services
from wiring import TESTER

FIRST = "Empressa-wallet-key-1"


@pytest.fixture
def wallets(services: Services) -> list[str]:
    """Users with a wallet."""
    users = [f"user-{number}" for number in range(12)]
    for user in users:
        complete(services.wallets.ensure_wallet(TESTER, user))
    return users


def test_the_pool_is_a_table_with_a_row_a_key(
    run: Run, wallets: list[str], kms_endpoint: KmsEndpoint
) -> None:
    kms_endpoint.key(f"alias/{FIRST}").state = "Disabled"
    table = run("pool", "status")
    assert table.code == 0
    assert all(f"key-{number}" in table.out for number in range(2, 11))
    broken = f"{FIRST} is {kms_endpoint.key(f'alias/{FIRST}').arn}"
    assert table.out.count(" is arn:") == table.out.count(broken) == 1
    facts = run("pool", "status", "--json").facts
    states = {key["alias"]: key["status"] for key in facts["keys"]}
    assert states.pop(f"alias/{FIRST}") == "Disabled"
    assert set(states.values()) == {"Active"}
    assert len(facts["currentActiveKeys"]) == 9
    assert len(wallets) == 12


def test_a_drained_key_is_shown_and_activated_again(run: Run, services: Services) -> None:
    assert run("pool", "drain", FIRST).code == 0
    modes = {key["alias"]: key["mode"] for key in run("pool", "status", "--json").facts["keys"]}
    assert modes.pop(f"alias/{FIRST}") == "draining"
    assert set(modes.values()) == {"active"}
    assert run("pool", "activate", FIRST).code == 0
    assert {key["mode"] for key in run("pool", "status", "--json").facts["keys"]} == {"active"}
    assert run("pool", "drain", "no-such-key").code == 1
    assert services.pool.keys


def test_a_rotation_is_a_dry_run_unless_asked_otherwise(run: Run, wallets: list[str]) -> None:
    before = run("pool", "status", "--json").facts["keys"]
    source = next(key for key in before if key["alias"] == f"alias/{FIRST}")["keyId"]
    assert run("pool", "drain", FIRST).code == 0
    counted = run("rotation", "start", "--from", source, "--json").facts
    assert (counted["status"], counted["dryRun"], counted["done"]) == ("completed", True, 0)
    assert run("rotation", "status", "--json").facts["rotationId"] == counted["rotationId"]
    assert run("rotation", "status").code == 0
    assert counted["rotationId"] in run("rotation", "list").out
    assert run("rotation", "cancel").code == 1, "it has ended"
    assert wallets


def test_the_seal_is_set_and_lifted_on_record(run: Run, services: Services, wallets: list[str]) -> None:
    assert run("seal", "--reason", "drill").code == 0
    complete(services.shared_state.poll())
    assert "sealed" in str(services.readiness.health().checks)
    assert run("unseal").code == 0
    listed = run("audit", "list", "--json").out
    assert "seal" in listed
    assert wallets


def test_canaries_are_marked_listed_and_let_go(run: Run, wallets: list[str]) -> None:
    assert run("canary", "add", wallets[0]).code == 0
    assert wallets[0] in run("canary", "list").out
    assert run("canary", "remove", wallets[0]).code == 0
    assert run("canary", "add", "nobody").code == 1


def test_an_untouched_audit_log_verifies(run: Run, wallets: list[str]) -> None:
    done = run("audit", "verify", "--no-heads")
    assert (done.code, "kms-service:" in done.err) == (0, False)
    assert "wallet.create" in run("audit", "list").out
    assert wallets
