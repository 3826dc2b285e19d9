"""One really running service, for all the attacks on it."""

from collections.abc import Iterator

import pytest

from kms_endpoint import KmsEndpoint
from kms_service.access.scopes import Scope
from server_process import ServerProcess, environment, make_token, serve
from wiring import FreshDatabase

MAX_CONNECTIONS = 40
DEADLINE_SECONDS = 4


@pytest.fixture(scope="module")
def env(fresh_database: FreshDatabase) -> Iterator[dict[str, str]]:
    with fresh_database() as url, KmsEndpoint() as endpoint:
        endpoint.add_pool("Empressa-wallet-key", 10)
        yield environment(
            url,
            endpoint,
            MAX_CONNECTIONS=MAX_CONNECTIONS,
            REQUEST_DEADLINE_SECONDS=DEADLINE_SECONDS,
            KEEP_ALIVE_SECONDS=7,
        )


@pytest.fixture(scope="module")
def token(env: dict[str, str]) -> str:
    return make_token(env, "tester", *Scope)


@pytest.fixture(scope="module")
def server(env: dict[str, str], token: str) -> Iterator[ServerProcess]:
    del token  # there before the server
    with serve(env) as server:
        yield server
        assert server.err == []
        assert "Traceback" not in server.printed
