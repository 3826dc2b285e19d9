"""Answers and audit rows, one to one: after load with faults, cut connections and a SIGKILL."""

import json
import signal
import threading
from collections import Counter, defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from kms_endpoint import Error, KmsEndpoint, Reset
from server_process import ServerProcess, environment, make_token, run, serve
from waiting import wait_until

CALLERS = 8
SUCCESSES = 50
SECONDS = 300  # generous, for a machine that does much else
ACTIONS = ("wallet.create", "private_key.read", "sign.message")
# What such an answer means for the audit row is unknown: it may have been committed before contact was lost.
UNKNOWN = {"database_unavailable", "audit_unavailable", "timed_out", "overloaded", "no answer"}


@dataclass(frozen=True)
class Answer:
    """What a caller got: `ok`, an error's code, or no answer at all."""

    action: str
    outcome: str


@dataclass
class Load:
    """Callers that never stop; each remembers what it was answered, by request id."""

    token: str
    address: str
    answers: dict[str, Answer] = field(default_factory=dict)
    stopped: threading.Event = field(default_factory=threading.Event)

    def call(self, caller: int) -> None:
        """Create a wallet, read its key, sign with it, and again."""
        number = 0
        with httpx.Client(timeout=60, headers={"Authorization": f"Bearer {self.token}"}) as client:
            while not self.stopped.is_set():
                user = f"user-{caller}-{number // 3}"
                self._one(client, ACTIONS[number % 3], user, f"request-{caller}-{number:06}")
                number += 1

    def _one(self, client: httpx.Client, action: str, user: str, request_id: str) -> None:
        method, path, body = {
            "wallet.create": ("POST", "/wallets", {"userId": user}),
            "private_key.read": ("GET", f"/wallets/{user}/private-key", None),
            "sign.message": ("POST", f"/wallets/{user}/sign/message", {"message": "hello"}),
        }[action]
        try:
            answer = client.request(
                method, self.address + path, json=body, headers={"X-Request-Id": request_id}
            )
            outcome = "ok" if answer.is_success else answer.json()["code"]
        except httpx.TransportError:
            outcome = "no answer"
            self.stopped.wait(0.05)  # as callers do while nobody is there
        self.answers[request_id] = Answer(action, outcome)

    def wait_for_successes(self, number: int) -> None:
        """Return once so many requests succeeded."""

        def count_successes() -> int:
            return sum(answer.outcome == "ok" for answer in list(self.answers.values()))

        wait_until(lambda: count_successes() >= number, SECONDS, lambda: Counter(self.answers.values()))


def _cut_connections(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid() AND random() < 0.7"
        )


def _rows(database_url: str) -> dict[str, list[Answer]]:
    rows: dict[str, list[Answer]] = defaultdict(list)
    with psycopg.connect(database_url) as connection:
        for request_id, action, outcome in connection.execute(
            "SELECT request_id, action, outcome FROM audit_events WHERE action = ANY(%s)", (list(ACTIONS),)
        ):
            rows[request_id].append(Answer(action, outcome))
    return rows


def _heads(path: Path, servers: Iterable[ServerProcess]) -> Path:
    path.write_text("\n".join(line for server in servers for line in server.out))
    return path


@pytest.fixture
def env(database_url: str, kms_endpoint: KmsEndpoint) -> dict[str, str]:
    return environment(database_url, kms_endpoint, AUDIT_HEADS_SECONDS=1)


@pytest.mark.invariant(3)
def test_every_answer_has_its_row_and_every_row_its_answer(
    env: dict[str, str], database_url: str, kms_endpoint: KmsEndpoint, tmp_path: Path
) -> None:
    token = make_token(env, "app", "wallets:create", "private-keys:read", "wallets:sign")
    kms_endpoint.on("Encrypt", "Decrypt").at_random(0.1, seed=5).answer(Error("KMSInternalException"))
    kms_endpoint.on("Decrypt").at_random(0.05, seed=6).answer(Reset())
    for number in range(1, 6):
        denied = kms_endpoint.on("Decrypt", key=f"alias/Empressa-wallet-key-{number}").at_random(
            0.5, seed=number
        )
        denied.answer(Error("AccessDeniedException"))
    with serve(env) as killed, ThreadPoolExecutor(CALLERS) as executor:
        load = Load(token, killed.url)
        callers = [executor.submit(load.call, caller) for caller in range(CALLERS)]
        try:
            load.wait_for_successes(SUCCESSES)
            _cut_connections(database_url)
            load.wait_for_successes(2 * SUCCESSES)
            assert killed.stop(signal.SIGKILL) == -signal.SIGKILL
            with serve(env) as server:
                load.address = server.url
                load.wait_for_successes(3 * SUCCESSES)
                load.stopped.set()
                for caller in callers:
                    caller.result()
                assert server.stop() == 0
        finally:
            load.stopped.set()
    kms_endpoint.clear()

    _reconcile(load.answers, _rows(database_url), database_url)
    seen = Counter(answer.outcome for answer in load.answers.values())
    assert seen["no answer"] > 0
    assert seen["kms_key_unusable"] > 0
    _verify_log(env, database_url, _heads(tmp_path / "service.log", (killed, server)))


def _reconcile(answers: dict[str, Answer], rows: dict[str, list[Answer]], database_url: str) -> None:
    assert rows.keys() <= answers.keys()
    for request_id, answer in answers.items():
        recorded = rows.get(request_id, [])
        if answer.outcome in UNKNOWN:
            # At most the row of what would have been answered; nothing left without it.
            assert len(recorded) <= 1, (request_id, answer, recorded)
        elif answer.outcome == "wallet_exists":
            assert recorded == [], (request_id, answer, recorded)
        else:
            assert recorded == [answer], (request_id, answer, recorded)
    made = [row for found in rows.values() for row in found if row == Answer("wallet.create", "ok")]
    with psycopg.connect(database_url) as connection:
        (wallets,) = connection.execute("SELECT count(*) FROM wallets").fetchone() or (0,)
    assert wallets == len(made)


def _verify_log(env: dict[str, str], database_url: str, log: Path) -> None:
    done = run("audit", "verify", "--heads", str(log), "--json", env=env)
    facts: dict[str, Any] = json.loads(done.stdout)
    assert (done.returncode, facts["findings"]) == (0, []), done.stderr
    assert facts["unclosed"] >= 1  # those of the killed process

    last: dict[str, Any] = {}
    for line in log.read_text().splitlines():
        with suppress(ValueError):
            event = json.loads(line)
            if event["event"] == "audit_head" and event["seq"] > 3:
                last = event
    with psycopg.connect(database_url) as connection:
        connection.execute("ALTER TABLE audit_events DISABLE TRIGGER USER")
        connection.execute(
            "DELETE FROM audit_events WHERE chain_id = %s AND seq >= %s", (last["chain"], last["seq"] - 1)
        )
    done = run("audit", "verify", "--heads", str(log), "--json", env=env)
    assert done.returncode == 1
    assert [(each["fault"], each["seq"]) for each in json.loads(done.stdout)["findings"]] == [
        ("cut off", last["seq"] - 1)
    ]
