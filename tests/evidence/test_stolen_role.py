"""The commands, end to end: a quiet day is fully explained, and a call past the service is reported."""

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner

from adoption.conftest import command_environment
from commands import Run, runner
from event_loop import complete
from evidence.trail import ROLE, STRANGER
from kms_endpoint import Error, Hang, KmsEndpoint, LostReply
from kms_service.bootstrap import Services
from kms_service.cli.root import root
from kms_service.errors import KmsServiceError
from kms_service.local.cloudtrail import Identity, record_of, write_trail
from kms_service.service.wallets import signatures
from kms_service.settings import Settings
from kms_service.store.wallets.find import WalletStore
from wiring import TESTER, FreshDatabase, Original, running_services, settings_for, with_role

SERVICE = Identity(ROLE, "i-0123", "test", "10.0.0.7", "aiohttp")
THIEF = replace(SERVICE, session="i-0123", source_ip="198.51.100.7", user_agent="Boto3/1.40")
USERS = [f"user-{number}" for number in range(6)]

Trail = Callable[..., Path]


@dataclass(frozen=True)
class Day:
    """What a day left behind: the database, and KMS with every request."""

    database_url: str
    kms: KmsEndpoint


@pytest.fixture(scope="module")
def day(fresh_database: FreshDatabase) -> Iterator[Day]:
    """Wallets made, read, signed with and refused, faults, verifications, the doctor. Tests get copies."""
    with fresh_database() as url, KmsEndpoint() as kms:
        kms.add_pool("Empressa-wallet-key", 10)
        settings = settings_for(url, kms)
        with running_services(settings) as services:
            _use(services, kms)
            for words, code in (("verify", 0), ("audit verify --no-heads", 0), ("pool doctor", 1)):
                done = CliRunner(env=command_environment(settings)).invoke(root, words.split())
                assert done.exit_code == code, done.output
        yield Day(url, kms)


def _use(services: Services, kms: KmsEndpoint) -> None:
    for user in USERS:
        complete(services.wallets.ensure_wallet(TESTER, user))
        complete(services.wallets.get_private_key_for_user(TESTER, user))
        complete(services.signing.sign(TESTER, user, lambda: signatures.of_message(b"hello")))
    with kms.on("Decrypt").times(1).answer(LostReply()):
        complete(services.wallets.get_private_key_for_user(TESTER, USERS[0]))
    with kms.on("Decrypt").answer(Hang()), pytest.raises(KmsServiceError):
        complete(services.wallets.get_private_key_for_user(TESTER, USERS[1]))
    with kms.on("Decrypt").answer(Error("DisabledException")), pytest.raises(KmsServiceError):
        complete(services.wallets.get_private_key_for_user(TESTER, USERS[2]))
    complete(services.canaries.add(TESTER, USERS[3]))
    complete(services.wallets.get_private_key_for_user(TESTER, USERS[3]))


@pytest.fixture
def original(day: Day) -> Original:
    return Original(day.database_url, day.kms.account)


@pytest.fixture
def kms_endpoint(day: Day, kms_endpoint: KmsEndpoint) -> KmsEndpoint:
    kms_endpoint.requests.extend(day.kms.requests)
    return kms_endpoint


@pytest.fixture
def run(settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(settings, monkeypatch, capsys)


@pytest.fixture
def trail(tmp_path: Path, kms_endpoint: KmsEndpoint) -> Trail:
    """Writes CloudTrail's files of all requests until now, the last of them by somebody else."""

    def write(*others: Identity) -> Path:
        received = kms_endpoint.find_requests()
        callers = [SERVICE] * (len(received) - len(others)) + list(others)
        records = [record_of(each, caller) for each, caller in zip(received, callers, strict=True)]
        folder = tmp_path / f"trail-{len(received)}"
        write_trail(folder, [record for record in records if record is not None])
        return folder

    return write


def test_a_quiet_day_has_nothing_unexplained(run: Run, trail: Trail) -> None:
    done = run("audit", "reconcile", "--cloudtrail", str(trail()), "--json")
    facts = done.facts
    assert (done.code, facts["unexplained"], facts["findings"]) == (0, 0, [])
    assert facts["explainedBy"]["rows of runs that release nothing"] == len(USERS)
    assert facts["principals"] == [ROLE]
    told = run("audit", "reconcile", "--cloudtrail", str(trail()), "--role", ROLE)
    assert told.code == 0
    assert "all explained" in told.out


def _steal(services: Services, kms_endpoint: KmsEndpoint, kms_client: object, user: str) -> str:
    """Decrypt a wallet's DEK past the service, with what the database holds; the wallet's address."""
    wallet = complete(WalletStore(services.database).find_encrypted(user))
    assert wallet is not None
    kms_client.decrypt(  # type: ignore[attr-defined]
        CiphertextBlob=wallet.dek.blob,
        KeyId=wallet.dek.key_arn,
        EncryptionContext={"purpose": "wallet-dek", "wallet_address": wallet.wallet_address},
    )
    assert kms_endpoint.count("Decrypt", outcome="ok") > 0
    return wallet.wallet_address


@pytest.mark.parametrize("thief", [THIEF, STRANGER], ids=["stolen role", "another role"])
def test_a_decrypt_past_the_service_is_named(
    run: Run, trail: Trail, services: Services, kms_endpoint: KmsEndpoint, kms_client: object, thief: Identity
) -> None:
    address = _steal(services, kms_endpoint, kms_client, USERS[4])
    files = str(trail(thief))
    done = run("audit", "reconcile", "--cloudtrail", files, "--json")
    assert done.code == 1
    (finding,) = done.facts["findings"]
    assert (finding["walletAddress"], finding["principal"]) == (address, thief.role)
    assert (finding["operation"], finding["sourceIp"]) == ("Decrypt", thief.source_ip)
    told = run("audit", "reconcile", "--cloudtrail", files)
    assert told.code == 1
    assert all(word in told.out for word in (address, thief.session, thief.source_ip, "UNEXPLAINED"))


def test_a_row_planted_by_the_databases_owner_explains_nothing(
    run: Run,
    trail: Trail,
    services: Services,
    kms_endpoint: KmsEndpoint,
    kms_client: object,
    database_url: str,
) -> None:
    address = _steal(services, kms_endpoint, kms_client, USERS[4])
    stolen = kms_endpoint.find_requests("Decrypt")[-1].call.request_id
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute(
            "INSERT INTO audit_events (chain_id, seq, at, actor, action, outcome, user_id, wallet_address, "
            "kms_key_id, kms_request_id, mac) SELECT chain_id, seq + 1, at, actor, action, outcome, user_id, "
            "%s, kms_key_id, %s, mac FROM audit_events WHERE (chain_id, seq) IN "
            "(SELECT chain_id, max(seq) FROM audit_events GROUP BY 1) LIMIT 1",
            (address, stolen),
        )
    facts = run("audit", "reconcile", "--cloudtrail", str(trail(THIEF)), "--json").facts
    assert not facts["logIntact"]
    assert stolen in [finding["kmsRequestId"] for finding in facts["findings"]]


def _unpack(archive: Path) -> Path:
    folder = archive.with_suffix("")
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(folder)
    return folder


def _verify(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - this interpreter, the bundle's own program
        [sys.executable, "-I", folder / "verify.py", *options],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_bundle_of_the_log_is_checked_by_a_stranger(run: Run, tmp_path: Path, database_url: str) -> None:
    done = run("audit", "export", "--out", str(tmp_path / "whole.zip"), "--json")
    assert (done.code, done.facts["intact"]) == (0, True)
    folder = _unpack(tmp_path / "whole.zip")
    assert _verify(folder).returncode == 0
    released = run(
        "audit", "release-mac-keys", "--out", str(tmp_path / "keys.json"), "--reason", "yearly audit"
    )
    assert released.code == 0
    assert (tmp_path / "keys.json").stat().st_mode & 0o777 == 0o600
    assert _verify(folder, "--mac-keys", str(tmp_path / "keys.json")).returncode == 0
    assert "audit.release_mac_keys" in run("audit", "list", "--json").out
    assert len(json.loads((folder / "keys.json").read_text())["keys"]) == 10
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute("ALTER TABLE audit_events DISABLE TRIGGER USER")
        owner.execute("UPDATE audit_events SET actor = 'x' WHERE action = 'canary.add'")
    broken = run("audit", "export", "--out", str(tmp_path / "broken.zip"))
    assert broken.code == 1
    assert "was changed" in broken.out
    checked = _verify(_unpack(tmp_path / "broken.zip"))
    assert checked.returncode == 1
    assert "the service found" in checked.stdout


def test_a_bundle_is_signed_by_kms(
    run: Run, tmp_path: Path, kms_client: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = kms_client.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")  # type: ignore[attr-defined]
    monkeypatch.setenv("AUDIT_SIGNING_KEY", key["KeyMetadata"]["Arn"])
    facts = run("audit", "export", "--out", str(tmp_path / "b.zip"), "--since", "1h", "--json").facts
    folder = _unpack(tmp_path / "b.zip")
    checked = _verify(folder, "--fingerprint", facts["fingerprint"])
    assert (checked.returncode, checked.stderr) == (0, "")
    assert _verify(folder, "--fingerprint", "SHA256:" + "0" * 64).returncode == 1
    monkeypatch.setenv("AUDIT_SIGNING_KEY", "alias/Empressa-wallet-key-1")
    refused = run("audit", "export", "--out", str(tmp_path / "c.zip"))
    assert refused.code != 0
    assert not list(tmp_path.glob("c.zip*"))


def test_files_without_a_call_prove_nothing(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty.json").write_text('{"Records": []}')
    assert run("audit", "reconcile", "--cloudtrail", str(tmp_path / "empty.json")).code == 1
    assert run("audit", "reconcile", "--cloudtrail", str(tmp_path / "nowhere")).code == 1


def test_a_month_is_a_page(run: Run, trail: Trail, tmp_path: Path) -> None:
    month = f"{datetime.now(UTC):%Y-%m}"
    page = tmp_path / "report.html"
    done = run("audit", "report", "--month", month, "--out", str(page), "--cloudtrail", str(trail()))
    assert done.code == 0, done
    text = page.read_text()
    assert text.count("✓ passed") == 2
    for told in ("private_key.read", "sign.message", "kms_key_unusable", "canary.opened", "wallet.create"):
        assert told in text
    stolen = run(
        "audit", "report", "--month", month, "--out", str(page), "--cloudtrail", str(trail(STRANGER))
    )
    assert stolen.code == 1
    assert "✗ FAILED" in page.read_text()
    assert run("audit", "report", "--month", "2026-13").code == 1
    assert run("audit", "report", "--month", month, "--out", str(page)).code == 0
    assert "no files of it were given" in page.read_text()


def test_an_auditor_who_may_only_read_the_database_does_all_of_it(
    run: Run, trail: Trail, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = str(trail())
    url = with_role(settings, "kms_readonly").database_url.get_secret_value()
    monkeypatch.setenv("DATABASE_URL", url)
    for arguments in (
        ("export", "--out", str(tmp_path / "b.zip")),
        ("reconcile", "--cloudtrail", files),
        ("report", "--month", f"{datetime.now(UTC):%Y-%m}", "--out", str(tmp_path / "r.html")),
        ("verify", "--no-heads"),
    ):
        done = run("audit", *arguments)
        assert done.code == 0, (arguments, done)
    released = run("audit", "release-mac-keys", "--out", str(tmp_path / "k.json"), "--reason", "none")
    assert released.code == 75
    assert not list(tmp_path.glob("k.json*"))
