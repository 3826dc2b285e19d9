"""What anybody may do to a server with TLS before the handshake is done."""

import socket
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from authority import SERVER, Authority
from kms_endpoint import KmsEndpoint
from kms_service.api.connection.admission import SPARE_CONNECTIONS
from kms_service.api.connection.patience import HANDSHAKE_SECONDS, HEAD_SECONDS
from raw_http import PROBE, connect, read_answers, seconds_until_closed, statuses
from server_process import environment, serve
from wiring import FreshDatabase

MAX_CONNECTIONS = 20
SLACK_SECONDS = 50  # of a busy machine


@dataclass
class Secured:
    """A server and a client that trusts it."""

    url: str
    client: ssl.SSLContext

    def wrap(self, connection: socket.socket) -> ssl.SSLSocket:
        """The connection, behind a handshake."""
        return self.client.wrap_socket(connection, server_hostname="127.0.0.1")


@pytest.fixture(scope="module", params=[1, 2], ids=["alone", "supervised"])
def tls_server(
    request: pytest.FixtureRequest, fresh_database: FreshDatabase, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Secured]:
    authority = Authority(tmp_path_factory.mktemp("authority"), "ours")
    certificate, key = authority.issue("server", SERVER)
    client = ssl.create_default_context(cafile=authority.certificate_file)
    with fresh_database() as url, KmsEndpoint() as endpoint:
        endpoint.add_pool("Empressa-wallet-key", 10)
        env = environment(
            url,
            endpoint,
            TLS_CERT_FILE=certificate,
            TLS_KEY_FILE=key,
            MAX_CONNECTIONS=MAX_CONNECTIONS,
            WORKERS=request.param,
        )
        with serve(env, client) as server:
            yield Secured(server.url, client)
            assert server.err == []
            assert "Traceback" not in server.printed


def test_silence_before_amid_and_behind_a_handshake_is_ended(tls_server: Secured) -> None:
    """All three at once, so that their time-outs are waited for once."""

    def stop_amid(begun: bytes) -> float:
        with connect(tls_server.url) as connection:
            connection.sendall(begun)
            return seconds_until_closed(connection)

    def stop_behind() -> float:
        with connect(tls_server.url) as connection, tls_server.wrap(connection) as secure:
            return seconds_until_closed(secure)

    half_a_hello = b"\x16\x03\x01\x02\x00\x01\x00"
    with ThreadPoolExecutor(3) as callers:
        before = callers.submit(stop_amid, b"")
        amid = callers.submit(stop_amid, half_a_hello)
        after = callers.submit(stop_behind)
    assert before.result() < HANDSHAKE_SECONDS + SLACK_SECONDS
    assert amid.result() < HANDSHAKE_SECONDS + SLACK_SECONDS
    assert after.result() < HEAD_SECONDS + SLACK_SECONDS


@pytest.mark.parametrize("sent", [PROBE, bytes(range(1, 200))], ids=["plain HTTP", "noise"])
def test_anything_but_a_handshake_is_ended_at_once(tls_server: Secured, sent: bytes) -> None:
    def seconds() -> float:
        with connect(tls_server.url) as connection:
            connection.sendall(sent)
            return seconds_until_closed(connection)

    # A busy machine may hold up any one.
    assert any(seconds() < HANDSHAKE_SECONDS - 1 for _ in range(5))


def test_a_flood_of_handshakes_keeps_nobody_out(tls_server: Secured) -> None:
    with ExitStack() as stack:
        for _ in range(3 * (MAX_CONNECTIONS + SPARE_CONNECTIONS)):
            stack.enter_context(connect(tls_server.url))
        with connect(tls_server.url) as connection, tls_server.wrap(connection) as behind:
            behind.sendall(PROBE)
            assert statuses(read_answers(behind)) == [200]
