"""The service as an operator starts, watches and stops it."""

import signal
import threading
import time
from collections.abc import Iterator

import httpx
import pytest

from kms_endpoint import Delay, Error, KmsEndpoint
from server_process import ServerProcess, environment, make_token, run, serve

SCOPES = ("wallets:create", "wallets:read", "private-keys:read")


@pytest.fixture
def env(database_url: str, kms_endpoint: KmsEndpoint) -> dict[str, str]:
    return environment(database_url, kms_endpoint)


@pytest.fixture(params=["1", "2"], ids=["one worker", "two workers"])
def server(request: pytest.FixtureRequest, env: dict[str, str]) -> Iterator[ServerProcess]:
    with serve({**env, "WORKERS": request.param}) as server:
        yield server


def test_a_round_trip_and_a_stop_that_loses_nothing(
    server: ServerProcess, env: dict[str, str], kms_endpoint: KmsEndpoint
) -> None:
    token = make_token(env, "app", *SCOPES)
    made = server.put("/wallets/alice", token)
    assert made.status_code == 201
    for _ in range(10):  # on a connection each, so that every worker has its turn
        with httpx.Client(
            base_url=server.client.base_url, headers={"Authorization": f"Bearer {token}"}
        ) as other:
            assert other.put("/wallets/alice").json() == made.json()
    key = server.get("/wallets/alice/private-key", token).json()
    assert key["walletAddress"] == made.json()["walletAddress"]

    answers: list[httpx.Response] = []
    with kms_endpoint.on("Decrypt").answer(Delay(1)):
        before = kms_endpoint.count("Decrypt")
        asking = threading.Thread(
            target=lambda: answers.append(server.get("/wallets/alice/private-key", token))
        )
        asking.start()
        kms_endpoint.wait_for(before + 1, "Decrypt")
        began = time.monotonic()
        code = server.stop()
        asking.join()
    assert code == 0
    assert time.monotonic() - began < 6
    assert [answer.json() for answer in answers] == [key]
    assert server.err == []
    requests = [line for line in server.events("request") if line["route"] == "/wallets/{userId}/private-key"]
    assert [line["status"] for line in requests] == [200, 200]
    for line in requests:
        assert line.keys() >= {"timestamp", "level", "requestId", "method", "durationMs", "actor"}
        assert line["actor"] == "app"
    assert not any("alice" in line for line in server.out)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_interrupt_ends_well_too(env: dict[str, str], workers: str) -> None:
    with serve({**env, "WORKERS": workers}) as server:
        assert server.stop(signal.SIGINT) == 0
        assert "Traceback" not in server.printed


def test_a_revoked_token_stops_working_within_seconds(env: dict[str, str]) -> None:
    with serve(env) as server:
        token = make_token(env, "short-lived", *SCOPES)
        assert server.get("/wallets", token).status_code == 200
        assert run("token", "revoke", "short-lived", env=env).returncode == 0
        end = time.monotonic() + 3
        while server.get("/wallets", token).status_code == 200:
            assert time.monotonic() < end, "a revoked token still works"
            time.sleep(0.1)
        assert server.get("/wallets", token).status_code == 401


def test_missing_settings_stop_the_start_with_all_of_them_listed(env: dict[str, str]) -> None:
    wrong = {**env, "PORT": "canary", "LOG_LEVEL": "canary", "WORKERS": "0"}
    for name in ("AWS_REGION", "DATABASE_URL", "AWS_SECRET_ACCESS_KEY"):
        del wrong[name]
    done = run("serve", env=wrong)
    assert (done.returncode, done.stdout) == (78, "")
    names = ("PORT", "LOG_LEVEL", "WORKERS", "AWS_REGION", "DATABASE_URL", "AWS_SECRET_ACCESS_KEY")
    assert all(f"\n  {name}: " in done.stderr for name in names)
    assert "canary" not in done.stderr


def test_no_credentials_anywhere_is_a_missing_setting(env: dict[str, str]) -> None:
    bare = {name: value for name, value in env.items() if "ACCESS_KEY" not in name}
    done = run("serve", env={**bare, "HOME": "/nonexistent"})
    assert done.returncode == 78
    assert "AWS_SECRET_ACCESS_KEY: set AWS_ACCESS_KEY_ID and this, or give the process a role" in done.stderr


def test_no_usable_key_stops_the_start_with_a_line_a_key(
    env: dict[str, str], kms_endpoint: KmsEndpoint
) -> None:
    kms_endpoint.on("DescribeKey").answer(Error("AccessDeniedException"))
    done = run("serve", env=env)
    assert done.returncode == 69
    lines = [line for line in done.stderr.splitlines() if line.startswith("  alias/Empressa-wallet-key-")]
    assert len(lines) == 10
    assert all(line.endswith(": AccessDeniedException") for line in lines)


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
        assert server.stop() == 0
