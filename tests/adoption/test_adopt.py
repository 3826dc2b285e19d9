"""`kms-service adopt`: every wallet of the ported service opens here to the key that it gave there."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import Result

from adoption import foreign
from adoption.conftest import Adopt, Ported, command_environment
from adoption.foreign import ADDRESS, DEK, ORIGINALS, PHRASE, b64
from event_loop import complete
from kms_endpoint import Error, KmsEndpoint
from kms_service.bootstrap import Services
from kms_service.service.adoption.adopt import Outcome
from kms_service.service.adoption.encrypted_phrase import Layout
from kms_service.service.adoption.session import adopting
from kms_service.service.audit.requests import LISTED, listed_requests
from kms_service.settings import Settings
from kms_service.store.adoption.source import source_table
from waiting import wait_until
from wiring import TESTER

FIRST = ORIGINALS[0]
NOBODY = "00000000-0000-0000-0000-000000000001"
BY_USER = {row["userId"]: row for row in ORIGINALS}


def _facts(result: Result) -> dict[str, Any]:
    return dict(json.loads(result.stdout.splitlines()[-1]))


def _key(services: Services, user_id: str) -> str:
    return (
        "0x" + complete(services.wallets.get_private_key_for_user(TESTER, user_id)).private_key.reveal().hex()
    )


def _ours(services: Services, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(services.settings.database_url.get_secret_value()) as connection:
        return connection.execute(statement.encode()).fetchall()


def _reasons(result: Result) -> dict[str, str]:
    return {each["userId"]: f"{each['outcome']}: {each['reason']}" for each in _facts(result)["wallets"]}


def test_a_dry_run_opens_everything_and_writes_nothing(
    adopt: Adopt, ported: Ported, services: Services
) -> None:
    before, decrypted = ported.all(), ported.kms.count("Decrypt")
    result = adopt("--json")
    assert result.exit_code == 1
    assert _facts(result).items() >= {
        "complete": True, "dryRun": True, "total": 6, "passed": 6, "adopted": 0, "alreadyHere": 0,
        "otherAddress": 0, "doesNotOpen": 0, "left": 6, "wallets": [],
    }.items()  # fmt: skip
    assert ported.kms.count("Decrypt") - decrypted == 6 + 1  # the key of row MACs
    assert _ours(services, "SELECT count(*) FROM wallets") == [(0,)]
    assert ported.all() == before
    assert "--no-dry-run adopts" in adopt().output


def test_every_wallet_opens_here_to_the_key_that_it_gave_there(
    adopt: Adopt, ported: Ported, services: Services
) -> None:
    before = ported.all()
    result = adopt("--no-dry-run", "--json")
    assert result.exit_code == 0, result.output
    assert (_facts(result)["adopted"], _facts(result)["left"]) == (6, 0)
    used = {ported.kms.store.arn(f"key/{row['kmsKeyId']}") for row in ORIGINALS}
    assert set(_facts(result)["keysUsed"]) == used
    for row in ORIGINALS:
        assert _key(services, row["userId"]) == row["privateKey"]
        wallet = complete(services.wallets.get_wallet(row["userId"]))
        assert wallet.wallet_address == row["walletAddress"]
        assert wallet.compressed_public_key == row["compressedPublicKey"]
        assert wallet.created_at == datetime(2024, 2, 29, 23, 59, 59, 123000, UTC)
        assert wallet.kms_key_id in {key.key_arn for key in services.pool.keys}
    assert _ours(services, "SELECT DISTINCT get_byte(encrypted_seed, 0) FROM wallets") == [(2,)]
    recorded = _ours(
        services,
        "SELECT user_id, wallet_address FROM audit_events WHERE action = 'wallet.adopt' AND outcome = 'ok'",
    )
    assert sorted(recorded) == sorted((row["userId"], row["walletAddress"]) for row in ORIGINALS)
    assert ported.all() == before


def test_the_old_keys_are_named_and_asked_without_a_context(adopt: Adopt, ported: Ported) -> None:
    adopt("--no-dry-run")
    asked = [each for each in ported.kms.find_requests("Decrypt") if not each.context]
    assert sorted(each.params["KeyId"] for each in asked) == sorted(row["kmsKeyId"] for row in ORIGINALS)
    wrapped = [
        each for each in ported.kms.find_requests("Encrypt") if each.context.get("purpose") == "wallet-dek"
    ]
    assert len(wrapped) == 6
    assert {row["kmsKeyId"] for row in ORIGINALS}.isdisjoint(
        each.params["KeyId"].rpartition("/")[2] for each in wrapped
    )


def test_another_run_does_what_is_left_and_asks_kms_nothing_for_the_rest(
    adopt: Adopt, ported: Ported, services: Services
) -> None:
    user = FIRST["userId"]
    ported.change(f"""DELETE FROM theirs."Wallet" WHERE user_id = '{user}'""")  # noqa: S608 # a test's own row
    assert adopt("--no-dry-run").exit_code == 0
    ported.insert(ported.wrap(FIRST))
    decrypted = len([each for each in ported.kms.find_requests("Decrypt") if not each.context])
    result = adopt("--no-dry-run", "--json")
    assert (result.exit_code, _facts(result)["adopted"], _facts(result)["alreadyHere"]) == (0, 1, 5)
    assert len([each for each in ported.kms.find_requests("Decrypt") if not each.context]) - decrypted == 1
    assert _key(services, user) == FIRST["privateKey"]
    assert adopt().exit_code == 0  # a dry run with nothing left


def _replace_phrase(row: dict[str, Any]) -> None:
    row["encryptedSeed"] = foreign.layouts(PHRASE.encode(), bytes.fromhex(row["dek"]))["hex"][1]


def _change_column(column: str, value: Callable[[str], str]) -> Callable[[dict[str, Any]], None]:
    def change(row: dict[str, Any]) -> None:
        row[column] = value(row[column])

    return change


def _seed(plaintext: bytes) -> Callable[[dict[str, Any]], None]:
    def change(row: dict[str, Any]) -> None:
        row["encryptedSeed"] = foreign.layouts(plaintext, bytes.fromhex(row["dek"]))["hex"][1]

    return change


WRONG: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "another address": (_change_column("walletAddress", lambda _: ADDRESS), "another address than the row's"),
    "another public key": (
        _change_column("compressedPublicKey", lambda key: key[:-1] + "0"),
        "another public key",
    ),
    "another phrase": (_replace_phrase, "another address than the row's"),
    "a bit of the tag": (
        _change_column(
            "encryptedSeed", lambda seed: seed[:30] + ("0" if seed[30] != "0" else "1") + seed[31:]
        ),
        "the tag of the encrypted phrase is wrong",
    ),
    "no layout": (_change_column("encryptedSeed", lambda _: "nonsense"), "not in the layout auto"),
    "CBC": (_change_column("encryptedSeed", lambda _: "00" * 16 + ":" + "11" * 32), "AES-CBC"),
    "OpenSSL": (_change_column("encryptedSeed", lambda _: b64(b"Salted__" + bytes(40))), "Salted__"),
    "keystore": (_change_column("encryptedSeed", lambda _: '{"crypto": {}}'), "keystore"),
    "a phrase in clear": (_change_column("encryptedSeed", lambda _: PHRASE), "unencrypted"),
    "a wrong checksum": (_seed(b"test " * 11 + b"test"), "wrong checksum"),
    "a word too few": (_seed(b"test " * 10 + b"junk"), "does not have 12"),
    "no KMS blob": (
        _change_column(
            "encryptedDek", lambda _: '{"encryptedData": "AAAA", "kmsKeyId": "' + FIRST["kmsKeyId"] + '"}'
        ),
        "KMS does not unwrap its data key",
    ),
    "no key": (_change_column("encryptedDek", lambda _: "{}"), "wrapped data key is in no known layout"),
    "an environment key": (
        _change_column("encryptedDek", lambda _: foreign.layouts(DEK, bytes(32))["hex"][1]),
        "--master-kek-file",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_an_inconsistent_row_is_reported_and_left_out(
    adopt: Adopt, ported: Ported, services: Services, what: str
) -> None:
    change, reason = WRONG[what]
    row = ported.wrap(FIRST)
    change(row)
    ported.change(f"""DELETE FROM theirs."Wallet" WHERE user_id = '{row["userId"]}'""")  # noqa: S608 # as above
    ported.insert(row)
    result = adopt("--no-dry-run", "--json")
    assert (result.exit_code, _facts(result)["adopted"], _facts(result)["doesNotOpen"]) == (1, 5, 1)
    assert _reasons(result).keys() == {row["userId"]}
    assert reason in _reasons(result)[row["userId"]]
    assert f"{row['userId']}  does not open: " in result.stderr
    assert _ours(services, "SELECT count(*) FROM wallets") == [(5,)]
    for secret in (PHRASE, row["dek"], FIRST["privateKey"][2:]):
        assert secret not in result.output


def test_a_row_under_the_environment_key_opens_with_its_file(
    adopt: Adopt, ported: Ported, services: Services, tmp_path: Path
) -> None:
    master = os.urandom(32)
    row = {**FIRST, "encryptedDek": foreign.layouts(bytes.fromhex(FIRST["dek"]), master)["hex"][1]}
    ported.change(f"""DELETE FROM theirs."Wallet" WHERE user_id = '{row["userId"]}'""")  # noqa: S608 # as above
    ported.insert({**row, "kmsKeyId": None})
    file, wrong = tmp_path / "kek", tmp_path / "wrong"
    file.write_text(master.hex() + "\n")
    wrong.write_text(master.hex()[:-2] + "zz")
    refused = adopt("--no-dry-run", "--master-kek-file", str(wrong))
    assert refused.exit_code == 2
    assert master.hex()[:20] not in refused.output
    assert adopt("--no-dry-run", "--master-kek-file", str(file)).exit_code == 0
    assert _key(services, row["userId"]) == row["privateKey"]


@pytest.mark.parametrize("name", foreign.layouts(b"x"))
def test_other_layouts_are_adopted_when_given_and_when_guessed(
    adopt: Adopt, ported: Ported, services: Services, name: str
) -> None:
    for row in ORIGINALS[:2]:
        told, text = foreign.layouts(_phrase_of(row), bytes.fromhex(row["dek"]))[name]
        ported.change(
            f"""UPDATE theirs."Wallet" SET encrypted_seed = '{text}' WHERE user_id = '{row["userId"]}'"""  # noqa: S608 # as above
        )
    only_these = f"user_id NOT IN ('{ORIGINALS[0]['userId']}', '{ORIGINALS[1]['userId']}')"
    ported.change(f'DELETE FROM theirs."Wallet" WHERE {only_these}')  # noqa: S608 # as above
    assert _facts(adopt("--json", "--layout", told))["left"] == 2
    assert adopt("--no-dry-run").exit_code == 0
    for row in ORIGINALS[:2]:
        assert _key(services, row["userId"]) == row["privateKey"]


def _phrase_of(row: dict[str, Any]) -> bytes:
    from kms_service.crypto.material import DataKey  # noqa: PLC0415 # only here
    from kms_service.service.adoption.encrypted_phrase import open_phrase  # noqa: PLC0415 # as above

    return (
        open_phrase(row["encryptedSeed"], DataKey(bytes.fromhex(row["dek"])), Layout.AUTO).reveal().encode()
    )


def test_a_user_or_wallet_that_differs_here_is_reported(
    adopt: Adopt, ported: Ported, services: Services
) -> None:
    complete(services.wallets.create_wallet(TESTER, FIRST["userId"]))
    second = ORIGINALS[1]
    assert adopt("--no-dry-run").exit_code == 1
    ported.change(
        f"""UPDATE theirs."Wallet" SET user_id = '{NOBODY}'
        WHERE user_id = '{second["userId"]}'"""  # noqa: S608 # as above
    )
    result = adopt("--no-dry-run", "--json")
    assert (_facts(result)["otherAddress"], _facts(result)["alreadyHere"]) == (2, 4)
    assert _reasons(result) == {
        FIRST["userId"]: "here with another address: the user has another wallet here",
        NOBODY: "here with another address: another user here has this wallet",
    }


@pytest.mark.invariant(13)
def test_a_row_of_ours_that_somebody_changed_counts_as_left(
    adopt: Adopt, services: Services, ported: Ported
) -> None:
    assert ported.url
    adopt("--no-dry-run")
    with psycopg.connect(services.settings.database_url.get_secret_value()) as connection:
        connection.execute("UPDATE wallets SET wallet_mac = '' WHERE user_id = %s", (FIRST["userId"],))
    result = adopt("--no-dry-run", "--json")
    assert (result.exit_code, _facts(result)["alreadyHere"], _facts(result)["left"]) == (1, 5, 1)
    assert "kms-service verify" in _reasons(result)[FIRST["userId"]]


def test_throttling_is_waited_out_and_a_key_that_refuses_leaves_its_wallets(
    adopt: Adopt, kms_endpoint: KmsEndpoint
) -> None:
    kms_endpoint.key(kms_endpoint.store.arn(f"key/{FIRST['kmsKeyId']}")).state = "Disabled"
    result = adopt("--no-dry-run", "--json")
    under = [row for row in ORIGINALS if row["kmsKeyId"] == FIRST["kmsKeyId"]]
    assert (result.exit_code, _facts(result)["left"]) == (1, len(under))
    assert "kms_key_unusable" in _reasons(result)[FIRST["userId"]]
    kms_endpoint.key(kms_endpoint.store.arn(f"key/{FIRST['kmsKeyId']}")).state = "Enabled"
    kms_endpoint.on("Encrypt").times(2).answer(Error("ThrottlingException"))
    assert adopt("--no-dry-run").exit_code == 0


def test_runs_side_by_side_adopt_each_wallet_once(
    ported: Ported, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kms_service.store.adoption.source.PAGE_ROWS", 2)

    async def both() -> list[dict[Outcome, int]]:
        import asyncio  # noqa: PLC0415 # only here

        return [dict(found) for found in await asyncio.gather(one(), one(), one())]

    async def one() -> dict[Outcome, int]:
        async with (
            source_table(ported.url, "theirs", "Wallet") as source,
            adopting(
                services.settings,
                services.keeper,
                region=services.settings.aws_region,
                layout=Layout.AUTO,
                master_key=None,
            ) as adopter,
        ):
            run = await adopter.run(
                TESTER,
                source,
                after=None,
                at_once=4,
                rate_per_second=None,
                dry_run=False,
                report=lambda *_: None,
            )
        assert run.done
        return dict(run.counts)

    counts = complete(both())
    assert sum(each.get(Outcome.ADOPTED, 0) for each in counts) == 6
    assert all(sum(each.values()) == 6 for each in counts)
    assert _ours(services, "SELECT count(*) FROM audit_events WHERE action = 'wallet.adopt'") == [(6,)]
    report = complete(services.verifier.verify(None, {}, lambda _: None))
    assert report.intact


def test_a_killed_run_can_simply_be_repeated(
    adopt: Adopt, ported: Ported, services: Services, settings: Settings, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "kms_service", "adopt", "--from", ported.url, "--schema", "theirs"]
    environment = {**os.environ, **command_environment(settings)}
    process = subprocess.Popen(  # noqa: S603 - our own command
        [*command, "--table", "Wallet", "--no-dry-run", "--rate", "2", "--at-once", "1"],
        env=environment,
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: _ours(services, "SELECT count(*) FROM wallets")[0][0] >= 2, 60)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(30)
    assert _ours(services, "SELECT count(*) FROM wallets")[0][0] < 6
    assert adopt("--no-dry-run").exit_code == 0
    for row in ORIGINALS:
        assert _key(services, row["userId"]) == row["privateKey"]
    matching = "SELECT count(*) FROM wallets JOIN audit_events USING (user_id) WHERE action = 'wallet.adopt'"
    assert _ours(services, matching) == [(6,)]


def test_a_user_id_that_is_invalid_here_is_reported(adopt: Adopt, ported: Ported) -> None:
    ported.change('ALTER TABLE theirs."Wallet" ALTER user_id TYPE text')
    ported.change(
        f"""UPDATE theirs."Wallet" SET user_id = 'a user with spaces' WHERE user_id = '{FIRST["userId"]}'"""  # noqa: S608 # as above
    )
    result = adopt("--no-dry-run", "--json")
    assert _reasons(result) == {"a user with spaces": "does not open: is not a valid user id here"}
    assert _facts(result)["adopted"] == 5


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ('DROP TABLE theirs."Wallet"', "there is no table theirs.Wallet"),
        ('ALTER TABLE theirs."Wallet" DROP encrypted_dek', "has no column encrypted_dek"),
    ],
)
def test_a_table_of_another_shape_is_reported(
    adopt: Adopt, ported: Ported, statement: str, message: str
) -> None:
    ported.change(statement)
    result = adopt()
    assert result.exit_code != 0
    assert message in str(result.exception)


def test_columns_that_other_services_lack_are_not_needed(
    adopt: Adopt, ported: Ported, services: Services
) -> None:
    for column in ("compressed_public_key", "kms_key_id", "created_at"):
        ported.change(f'ALTER TABLE theirs."Wallet" DROP {column}')
    ported.change('UPDATE theirs."Wallet" SET wallet_address = lower(wallet_address)')
    assert adopt("--no-dry-run").exit_code == 0
    for user, row in BY_USER.items():
        assert _key(services, user) == row["privateKey"]
    assert adopt("--no-dry-run").exit_code == 0


def test_an_unreachable_database_is_reported_without_its_password(adopt: Adopt) -> None:
    result = adopt("--from", "postgresql://user:canary@127.0.0.1:1/none")
    assert "cannot be reached" in str(result.exception)
    assert "canary" not in result.output + repr(result.exception)


def test_each_opening_is_listed_for_the_reconciliation_with_cloudtrail(
    adopt: Adopt, ported: Ported, services: Services
) -> None:
    adopt("--no-dry-run")
    details = _ours(services, "SELECT detail FROM audit_events WHERE action = 'kms.requests'")
    listed = [request for (detail,) in details for request in listed_requests(LISTED, detail)]
    opened = [each.call.request_id for each in ported.kms.find_requests("Decrypt") if not each.context]
    assert sorted(listed) == sorted(opened)
    assert len(opened) == 6
