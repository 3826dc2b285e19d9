"""`policy` and the tokens' side of it, as operators type them."""

import json
from pathlib import Path

import psycopg
import pytest

from commands import Run

SHIPPED = Path(__file__).parents[2] / "deploy" / "policies"
CHECKOUT = str(SHIPPED / "checkout.json")


def test_check_reports_every_problem_with_its_place(run: Run, tmp_path: Path) -> None:
    good = run("policy", "check", CHECKOUT)
    assert (good.code, good.out) == (0, f"{CHECKOUT} is a valid policy. Rules: 4.\n")
    rule = {"id": "a", "action": "sign.message", "wallets": "any", "prefixes": [], "extra": 1}
    bad = tmp_path / "bad.json"
    bad.write_text(json.dumps({"rules": [rule]}))
    done = run("policy", "check", str(bad))
    assert done.code == 1
    assert {line.partition(":")[0] for line in done.err.splitlines()} == {
        "rules.0.prefixes",
        "rules.0.maxBytes",
        "rules.0.extra",
    }
    facts = run("policy", "check", str(bad), "--json")
    assert (facts.code, facts.facts["valid"], len(facts.facts["problems"])) == (1, False, 3)


def test_check_needs_neither_settings_nor_database(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL")
    monkeypatch.delenv("AWS_REGION")
    assert run("policy", "check", CHECKOUT).code == 0
    assert json.loads(run("policy", "check", "--schema").out) == json.loads(
        (SHIPPED / "policy.schema.json").read_text()
    )


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("policy", "check"), 2, "give the FILE to check"),
        (
            ("policy", "check", "none-such.json"),
            1,
            "none-such.json cannot be read: No such file or directory",
        ),
        (("policy", "set", "checkout"), 2, "give the FILE of the policy, once"),
        (("policy", "set", "a b", CHECKOUT), 1, "a policy's name has 1 to 64 characters"),
        (("policy", "show", "none-such"), 1, "There is no such policy"),
        (("policy", "history", "none-such"), 1, "There is no such policy"),
        (("policy", "usage", "none-such"), 1, "There is no such policy"),
        (("token", "create", "x", "--scope", "wallets:sign", "--policy", "none-such"), 1, "no such policy"),
        (("token", "policy", "x"), 2, "give --policy NAME or --none"),
        (("token", "policy", "x", "--policy", "y", "--none"), 2, "give --policy NAME or --none"),
        (("token", "policy", "none-such", "--none"), 1, "no valid token is named none-such"),
    ],
)
def test_a_command_that_cannot_be_done_is_refused_in_one_line(
    run: Run, arguments: tuple[str, ...], code: int, told: str
) -> None:
    done = run(*arguments)
    assert told in done.err
    assert done.code == code
    assert "Traceback" not in done.err


def test_a_policy_is_set_shown_listed_and_bounds_a_token(run: Run) -> None:
    first = run("policy", "set", "checkout", CHECKOUT)
    assert (first.code, first.out) == (0, "checkout is at version 1.\n")
    again = run("policy", "set", "checkout", "--file", CHECKOUT)
    assert again.out == "checkout is at version 1, as it was.\n"
    frozen = str(SHIPPED / "frozen.json")
    assert run("policy", "set", "checkout", frozen, "--json").facts["version"] == 2

    assert run("policy", "show", "checkout").out == Path(frozen).read_text()
    assert run("policy", "show", "checkout", "--version", "1").out == Path(CHECKOUT).read_text()
    shown = run("policy", "show", "checkout", "--json").facts
    assert (shown["version"], shown["document"]) == (2, {"rules": []})
    assert [row["version"] for row in run("policy", "history", "checkout", "--json").facts] == [2, 1]
    assert run("policy", "history", "checkout").out.startswith("version 2 ")
    assert [(row["name"], row["version"]) for row in run("policy", "list", "--json").facts] == [
        ("checkout", 2)
    ]
    assert run("policy", "list").out.startswith("checkout                 version 2 ")
    assert run("policy", "usage", "checkout").out == ""

    made = run("token", "create", "till", "--scope", "wallets:sign", "--policy", "checkout", "--json")
    assert made.facts["policy"] == "checkout"
    assert run("token", "list").out.rstrip().endswith("wallets:sign  policy checkout")
    freed = run("token", "policy", "till", "--none", "--json")
    assert freed.facts["policy"] is None
    bound = run("token", "policy", "till", "--policy", "checkout")
    assert bound.out == "till is bound to the policy checkout.\n"
    log = run("audit", "list", "--json").out
    details = [json.loads(line)["detail"] for line in log.splitlines() if '"token.policy"' in line]
    assert details == ["till 3: checkout", "till 2: none"]


def test_a_row_that_no_operator_wrote_is_shown_to_nobody(run: Run, database_url: str) -> None:
    run("policy", "set", "checkout", CHECKOUT)
    with psycopg.connect(database_url) as connection:
        connection.execute("ALTER TABLE policies DISABLE TRIGGER USER")
        connection.execute("UPDATE policies SET document = '{\"rules\": []}'")
    for arguments in (("show", "checkout"), ("list",), ("history", "checkout")):
        done = run("policy", *arguments)
        assert (done.code, done.out) == (75, "")
        assert "not as an operator wrote it" in done.err


@pytest.mark.parametrize(
    "statement",
    ["UPDATE policies SET document = '{\"rules\": []}' WHERE version = 2", "DELETE FROM policies"],
)
def test_a_rewritten_or_deleted_policy_is_set_again(run: Run, database_url: str, statement: str) -> None:
    run("policy", "set", "checkout", str(SHIPPED / "frozen.json"))
    run("policy", "set", "checkout", CHECKOUT)
    with psycopg.connect(database_url) as connection:
        connection.execute("ALTER TABLE policies DISABLE TRIGGER USER")
        connection.execute(statement.encode())
    assert run("policy", "set", "checkout", CHECKOUT).out == "checkout is at version 3.\n"
    assert run("policy", "show", "checkout").out == Path(CHECKOUT).read_text()
