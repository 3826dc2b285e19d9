"""A recorded load: every KMS call under faults is explained by the log, and one theft is not."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psycopg
import pytest

from commands import Run, runner
from e2e.test_reconciliation import Load
from evidence.trail import ROLE
from kms_endpoint import Error, KmsEndpoint, LostReply
from kms_service.local.cloudtrail import Identity, record_of, write_trail
from kms_service.local.kms.faults import Fault
from kms_service.settings import Settings
from server_process import environment, make_token, serve

if TYPE_CHECKING:
    from types_boto3_kms import KMSClient

CALLERS = 6
SUCCESSES = 80
SERVICE = Identity(ROLE, "i-0123", "test", "10.0.0.7", "httptools")
FAULTS: list[tuple[float, Fault]] = [
    (0.05, Error("KMSInternalException")),
    (0.05, Error("ThrottlingException")),
    (0.2, LostReply()),
]
THIEF = replace(SERVICE, source_ip="198.51.100.7", user_agent="Boto3/1.40")


@pytest.fixture
def run(settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(settings, monkeypatch, capsys)


def _hang_up(load: Load, token: str) -> None:
    """Ask, and leave before the answer: the service has begun by then."""
    with httpx.Client(headers={"Authorization": f"Bearer {token}"}) as client:
        while not load.stopped.is_set():
            with suppress(httpx.TransportError):
                client.get(f"{load.address}/wallets/user-0-0/private-key", timeout=0.01)
            load.stopped.wait(0.1)


def _trail(folder: Path, kms_endpoint: KmsEndpoint, *last: Identity) -> Path:
    received = kms_endpoint.find_requests()
    callers = [SERVICE] * (len(received) - len(last)) + list(last)
    told = [record_of(each, caller) for each, caller in zip(received, callers, strict=True)]
    write_trail(folder, [record for record in told if record is not None])
    return folder


def _steal(database_url: str, kms_client: "KMSClient") -> str:
    with psycopg.connect(database_url) as connection:
        row: Any = connection.execute(
            "SELECT wallet_address, kms_key_id, encrypted_dek FROM wallets ORDER BY user_id LIMIT 1"
        ).fetchone()
    context = {"purpose": "wallet-dek", "wallet_address": row[0]}
    kms_client.decrypt(CiphertextBlob=row[2], KeyId=row[1], EncryptionContext=context)
    return str(row[0])


def test_a_loaded_day_is_explained_and_a_theft_is_reported(
    run: Run, database_url: str, kms_endpoint: KmsEndpoint, kms_client: "KMSClient", tmp_path: Path
) -> None:
    env = environment(database_url, kms_endpoint)
    token = make_token(env, "app", "wallets:create", "private-keys:read", "wallets:sign")
    with serve(env) as server, ThreadPoolExecutor(CALLERS + 1) as executor:
        load = Load(token, server.url)
        work = [executor.submit(load.call, caller) for caller in range(CALLERS)]
        work.append(executor.submit(_hang_up, load, token))
        try:
            load.wait_for_successes(SUCCESSES)
            assert run("pool", "drain", "Empressa-wallet-key-1").code == 0
            source = kms_endpoint.key("alias/Empressa-wallet-key-1").arn
            assert run("rotation", "start", "--from", source, "--no-dry-run").code == 0
            for seed, (rate, fault) in enumerate(FAULTS, 1):
                kms_endpoint.on("Decrypt", "Encrypt").at_random(rate, seed=seed).answer(fault)
            load.wait_for_successes(
                SUCCESSES + sum(each.outcome == "ok" for each in list(load.answers.values()))
            )
        finally:
            load.stopped.set()
        for each in work:
            each.result()
        assert server.stop() == 0
    kms_endpoint.clear()
    assert run("verify").code == 0
    run("pool", "doctor")

    quiet = run("audit", "reconcile", "--cloudtrail", str(_trail(tmp_path / "quiet", kms_endpoint)), "--json")
    facts = quiet.facts
    assert (quiet.code, facts["findings"]) == (0, []), Counter(load.answers.values())
    by = facts["explainedBy"]
    assert min(by[how] for how in ("audit rows", "requests sent again", "refusals and dry runs")) > 0
    assert by["rows of runs that release nothing"] > 0
    assert sum(by.values()) == facts["calls"]

    address = _steal(database_url, kms_client)
    loud = run(
        "audit", "reconcile", "--cloudtrail", str(_trail(tmp_path / "loud", kms_endpoint, THIEF)), "--json"
    )
    (finding,) = loud.facts["findings"]
    assert (loud.code, finding["walletAddress"], finding["principal"]) == (1, address, ROLE)
    assert finding["sourceIp"] == THIEF.source_ip
