"""PostgreSQL frozen at work: requests fail within a statement's time-out, and succeed again afterwards."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from kms_endpoint import KmsEndpoint
from kms_service.access.scopes import Scope
from kms_service.local.postgres import PostgresServer, postgres
from kms_service.store.postgres.database import ROW_SECONDS
from kms_service.store.postgres.migrations import migrate
from server_process import environment, make_token, serve
from waiting import wait_until

_SLACK_SECONDS = 30.0  # of a machine that does much else
_PROBED_SECONDS = 8.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PostgresServer]:
    with postgres(tmp_path, {"fsync": "off", "shared_buffers": "16MB"}) as server:
        server.ensure_database("wallets")
        migrate(server.url("wallets"))
        yield server


def _signal(server: PostgresServer, number: signal.Signals) -> None:
    postmaster = psutil.Process(server.pid)
    for each in (postmaster, *postmaster.children(recursive=True)):
        os.kill(each.pid, number)


def test_a_frozen_database_is_unavailable_within_the_statements_time_out(
    server: PostgresServer, kms_endpoint: KmsEndpoint
) -> None:
    env = environment(server.url("wallets"), kms_endpoint)
    token = make_token(env, "tester", *Scope)
    with serve(env) as service, service.client(token) as client:
        assert client.put("/wallets/alice").status_code == 201
        _signal(server, signal.SIGSTOP)
        try:
            began = time.monotonic()
            answer = client.get("/wallets/alice/private-key")
            took = time.monotonic() - began
            assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
            assert took < ROW_SECONDS + _SLACK_SECONDS
            wait_until(lambda: client.get("/readyz").status_code == 503)
            assert time.monotonic() - began < _PROBED_SECONDS + _SLACK_SECONDS
        finally:
            _signal(server, signal.SIGCONT)
        wait_until(lambda: client.get("/readyz").status_code == 200)
        assert client.get("/wallets/alice/private-key").status_code == 200
        reasons = [event["reason"] for event in service.events("database_failed")]
        assert reasons
        assert all(reasons)
