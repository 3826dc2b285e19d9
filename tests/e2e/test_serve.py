"""The service as an operator starts, watches and stops it."""

import os
import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from kms_endpoint import Delay, Error, KmsEndpoint
from server_process import STOP_SECONDS, environment, make_token, run, serve
from waiting import wait_until
from wiring import FreshDatabase

SCOPES = ("wallets:create", "wallets:read", "private-keys:read")


@pytest.fixture
def env(database_url: str, kms_endpoint: KmsEndpoint) -> dict[str, str]:
    return environment(database_url, kms_endpoint)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_round_trip_and_a_stop_that_loses_nothing(
    env: dict[str, str], kms_endpoint: KmsEndpoint, workers: str
) -> None:
    token = make_token(env, "app", *SCOPES)
    with (
        serve({**env, "WORKERS": workers, "SHUTDOWN_DELAY_SECONDS": "2"}, anew=True) as server,
        server.client(token) as client,
        ThreadPoolExecutor(2) as beside,
    ):
        made = client.put("/wallets/alice")
        assert made.status_code == 201
        for _ in range(10):  # on a connection each, so that every worker has its turn
            assert client.put("/wallets/alice").json() == made.json()
        key = client.get("/wallets/alice/private-key").json()
        assert key["walletAddress"] == made.json()["walletAddress"]

        with kms_endpoint.on("Encrypt").answer(Delay(1.2)), kms_endpoint.on("Decrypt").answer(Delay(1)):
            seen = kms_endpoint.count("Encrypt"), kms_endpoint.count("Decrypt")
            created = beside.submit(client.put, "/wallets/last")
            asked = beside.submit(client.get, "/wallets/alice/private-key")
            kms_endpoint.wait_for(seen[0] + 1, "Encrypt")
            kms_endpoint.wait_for(seen[1] + 1, "Decrypt")
            server.process.terminate()
            while (ready := client.get("/readyz")).status_code == 200:
                pass
            assert (ready.status_code, ready.json()["checks"]["process"]) == (503, "shutting down")
            assert created.result().status_code == 201
            assert asked.result().json() == key
            assert server.process.wait(STOP_SECONDS) == 0
    assert server.err == []
    requests = [line for line in server.events("request") if line["route"] == "/wallets/{userId}/private-key"]
    assert [line["status"] for line in requests] == [200, 200]
    for line in requests:
        assert line.keys() >= {"timestamp", "level", "requestId", "method", "durationMs", "actor"}
        assert line["actor"] == "app"
    assert not any("alice" in line for line in server.out)


def test_a_revoked_token_stops_working_within_seconds(env: dict[str, str]) -> None:
    token = make_token(env, "short-lived", *SCOPES)
    with serve(env) as server, server.client(token) as client:
        assert client.get("/wallets").status_code == 200
        assert run("token", "revoke", "short-lived", env=env).returncode == 0
        revoked_at = began = time.monotonic()
        while client.get("/wallets").status_code == 200:
            assert began - revoked_at < 2, "a revoked token still works"
            began = time.monotonic()
        assert client.get("/wallets").status_code == 401


def test_missing_settings_stop_the_start_with_all_of_them_listed(env: dict[str, str]) -> None:
    wrong = {**env, "PORT": "canary", "LOG_LEVEL": "canary", "WORKERS": "0"}
    for name in ("AWS_REGION", "DATABASE_URL", "AWS_SECRET_ACCESS_KEY"):
        del wrong[name]
    done = run("serve", env=wrong)
    assert (done.returncode, done.stdout) == (78, "")
    names = ("PORT", "LOG_LEVEL", "WORKERS", "AWS_REGION", "DATABASE_URL", "AWS_SECRET_ACCESS_KEY")
    assert all(f"\n  {name}: " in done.stderr for name in names)
    assert "canary" not in done.stderr


def test_the_absence_of_credentials_is_a_missing_setting(env: dict[str, str]) -> None:
    bare = {name: value for name, value in env.items() if "ACCESS_KEY" not in name}
    done = run("serve", env={**bare, "HOME": "/nonexistent"})
    assert done.returncode == 78
    assert "AWS_SECRET_ACCESS_KEY: set AWS_ACCESS_KEY_ID and this, or give the process a role" in done.stderr


@pytest.mark.parametrize("workers", ["1", "2"])
def test_no_usable_key_stops_the_start_with_a_line_a_key(
    env: dict[str, str], kms_endpoint: KmsEndpoint, workers: str
) -> None:
    kms_endpoint.on("DescribeKey").answer(Error("AccessDeniedException"))
    done = run("serve", env={**env, "WORKERS": workers})
    assert done.returncode == 69
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("  alias/Empressa-wallet-key-")]
    assert len(lines) == 10
    assert all(line.endswith(": AccessDeniedException") for line in lines)


@dataclass(frozen=True, slots=True)
class Interrupted:
    """What became of two workers, one of which was killed and could not begin to serve at first.

    Attributes:
        answer: the other's status meanwhile.
        exit_code: after an interrupt, which came once both served again.
        printed: all of it.
    """

    answer: int
    exit_code: int
    printed: str


@pytest.fixture(scope="module")
def interrupted(fresh_database: FreshDatabase) -> Interrupted:
    with fresh_database() as url, KmsEndpoint() as endpoint:
        endpoint.add_pool("Empressa-wallet-key", 10)
        env = environment(url, endpoint, WORKERS=2)
        token = make_token(env, "app", *SCOPES)
        with serve(env) as server, server.client(token) as client:
            server.wait_for("Application startup complete.", 2)
            started = " ".join(line["event"] for line in server.events())
            endpoint.on("DescribeKey").answer(Error("AccessDeniedException"))
            os.kill(int(re.findall(r"Started server process \[(\d+)\]", started)[0]), signal.SIGKILL)
            wait_until(lambda: "no key of the pool can be used" in server.printed)
            answer = client.get("/wallets").status_code
            endpoint.clear()
            server.wait_for("Application startup complete.", 3)
            return Interrupted(answer, server.stop(signal.SIGINT), server.printed)


def test_a_worker_that_cannot_come_back_is_tried_again_while_the_other_serves(
    interrupted: Interrupted,
) -> None:
    assert interrupted.answer == 200
    assert interrupted.printed.count("Application startup complete.") == 3


def test_an_interrupt_ends_the_service_cleanly_too(interrupted: Interrupted) -> None:
    assert interrupted.exit_code == 0
    assert "Traceback" not in interrupted.printed


def test_some_usable_keys_are_enough_and_the_rest_is_warned_of(
    env: dict[str, str], kms_endpoint: KmsEndpoint
) -> None:
    kms_endpoint.key("alias/Empressa-wallet-key-2").state = "Disabled"
    kms_endpoint.key("alias/Empressa-wallet-key-3").state = "PendingDeletion"
    with serve(env) as server:
        warned = {line["key"]: line["reason"] for line in server.events("key_unusable")}
        assert warned == {
            "alias/Empressa-wallet-key-2": "Disabled",
            "alias/Empressa-wallet-key-3": "PendingDeletion",
        }
        assert server.stop(signal.SIGINT) == 0
        assert "Traceback" not in server.printed
