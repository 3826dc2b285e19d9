"""What anybody may do to a connection before a token is known, on raw sockets against the running service."""

import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass

import psutil
import pytest

from kms_service.api.connection.patience import HEAD_SECONDS
from kms_service.api.connection.request_size import MAX_HEAD_BYTES, MAX_HEADERS
from raw_http import PROBE, ask, connect, read_answers, seconds_until_closed, statuses
from server_process import ServerProcess
from waiting import pause, wait_until

MIB = 2**20
SLACK_SECONDS = 50  # of a busy machine


@pytest.fixture
def deadline(env: dict[str, str]) -> float:
    return float(env["REQUEST_DEADLINE_SECONDS"])


def resident(server: ServerProcess) -> int:
    """Bytes of the serving process."""
    size: int = psutil.Process(server.process.pid).memory_info().rss
    return size


def flood(connection: socket.socket, part: bytes, megabytes: int) -> None:
    """Send a part again and again, up to so many megabytes or until the other side closes."""
    block = part * (64 * 1024 // len(part) + 1)
    with suppress(ConnectionError):
        for _ in range(megabytes * MIB // len(block)):
            connection.sendall(block)


def is_problem(answer: bytes, status: int, code: str) -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    problem = json.loads(body)
    assert statuses(answer) == [status]
    assert (problem["status"], problem["code"]) == (status, code)
    lines = head.lower().split(b"\r\n")
    assert b"content-type: application/problem+json" in lines
    assert b"connection: close" in lines
    assert f"x-request-id: {problem['requestId']}".encode() in lines


# The head


@pytest.mark.parametrize(
    "part",
    [b"x: y\r\n", b"x: " + b"y" * 20_000 + b"\r\n", b"y" * 1000],
    ids=["lines", "long lines", "one header"],
)
@pytest.mark.parametrize("begun", [b"GET /livez HTTP/1.1\r\nHost: a\r\nx: ", b"GET /", b""])
def test_a_head_without_end_is_refused_and_takes_no_memory(
    server: ServerProcess, begun: bytes, part: bytes
) -> None:
    before = resident(server)
    with connect(server.url) as connection:
        connection.sendall(begun)
        flood(connection, part, 200)
        assert seconds_until_closed(connection) < HEAD_SECONDS + SLACK_SECONDS
    assert resident(server) < before + 20 * MIB


@pytest.mark.parametrize("after", [b"", PROBE], ids=["first", "on a used connection"])
def test_a_head_with_too_many_bytes_is_431(server: ServerProcess, after: bytes) -> None:
    head = b"GET /livez HTTP/1.1\r\nHost: a\r\n%s\r\n"
    short = head % (b"x: " + b"y" * (MAX_HEAD_BYTES - 200) + b"\r\n")
    with connect(server.url) as connection:
        if after:
            connection.sendall(after)
            assert statuses(read_answers(connection)) == [200]
        connection.sendall(short)
        assert statuses(read_answers(connection)) == [200]
        connection.sendall(head % (b"x: " + b"y" * MAX_HEAD_BYTES + b"\r\n"))
        is_problem(read_answers(connection), 431, "headers_too_large")
        assert connection.recv(1) == b""


def test_a_head_with_too_many_headers_is_431(server: ServerProcess) -> None:
    def head(count: int) -> bytes:
        return b"GET /livez HTTP/1.1\r\nHost: a\r\n" + b"x:\r\n" * (count - 1) + b"\r\n"

    assert statuses(ask(server.url, head(MAX_HEADERS))) == [200]
    is_problem(ask(server.url, head(MAX_HEADERS + 1)), 431, "headers_too_large")


def test_the_target_counts_towards_the_head(server: ServerProcess) -> None:
    target = b"/livez?" + b"x" * MAX_HEAD_BYTES
    is_problem(ask(server.url, b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n" % target), 431, "headers_too_large")


@pytest.mark.parametrize("trailer", [b"x: y\r\n", b"y" * 1000], ids=["lines", "one trailer"])
@pytest.mark.parametrize("path", [b"/livez", b"/wallets"])
def test_trailers_are_bounded_as_headers_are(server: ServerProcess, path: bytes, trailer: bytes) -> None:
    before = resident(server)
    with connect(server.url) as connection:
        connection.sendall(
            b"POST %s HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nx: " % path
        )
        flood(connection, trailer, 100)
        assert seconds_until_closed(connection) < HEAD_SECONDS + SLACK_SECONDS
    assert resident(server) < before + 20 * MIB


def test_a_trailer_is_not_read_as_a_header(server: ServerProcess, token: str) -> None:
    """It comes after the request has been judged."""
    late = f"0\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    with connect(server.url) as connection:
        connection.sendall(b"GET /wallets HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        connection.sendall(late)
        assert statuses(read_answers(connection)) == [401]


DROPS = {
    "header": (b"GET /livez HTTP/1.1\r\nHost: a\r\nx: ", b"y"),
    "target": (b"GET /", b"x"),
    "empty lines": (b"", b"\r\n"),
}


LATE = {
    "never": (b"Content-Length: 100\r\n\r\n", b""),
    "in drops": (b"Content-Length: 100\r\n\r\n{", b" "),
    "in chunks": (b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "asked for": (b"Content-Length: 100\r\nExpect: 100-continue\r\n\r\n", b""),
}
FRAMINGS = [b"Content-Length: 100", b"Transfer-Encoding: chunked"]


@dataclass(frozen=True)
class SlowCallers:
    """What becomes of callers who keep the service waiting, all at the same time."""

    silent: Future[float]
    in_drops: dict[tuple[str, bool], Future[float]]
    late: dict[str, Future[tuple[float, bytes, float]]]
    without_body: dict[bytes, Future[tuple[bytes, float]]]
    idle: Future[tuple[list[int], float]]
    one_after_another: Future[list[int]]


@pytest.fixture(scope="module")
def slow_callers(server: ServerProcess, env: dict[str, str], token: str) -> Iterator[SlowCallers]:
    """All at once, so that their time-outs are waited for once."""
    with ThreadPoolExecutor(3 + 2 * len(DROPS) + len(LATE) + len(FRAMINGS)) as callers:
        yield SlowCallers(
            silent=callers.submit(_silent, server),
            in_drops={
                (what, used): callers.submit(_in_drops, server, *DROPS[what], used=used)
                for what in DROPS
                for used in (False, True)
            },
            late={what: callers.submit(_late, server, token, *LATE[what]) for what in LATE},
            without_body={framing: callers.submit(_without_body, server, framing) for framing in FRAMINGS},
            idle=callers.submit(_idle, server, float(env["KEEP_ALIVE_SECONDS"])),
            one_after_another=callers.submit(
                _one_after_another, server, token, float(env["REQUEST_DEADLINE_SECONDS"])
            ),
        )


def _silent(server: ServerProcess) -> float:
    with connect(server.url) as connection:
        return seconds_until_closed(connection)


def _in_drops(server: ServerProcess, begun: bytes, drop: bytes, *, used: bool) -> float:
    with connect(server.url) as connection:
        if used:
            connection.sendall(PROBE)
            assert statuses(read_answers(connection)) == [200]
        started = time.monotonic()
        connection.settimeout(0.5)
        with suppress(ConnectionError):
            connection.sendall(begun)
            while time.monotonic() - started < 2 * SLACK_SECONDS:
                connection.sendall(drop)
                with suppress(TimeoutError):
                    if connection.recv(1000) == b"":
                        break
    return time.monotonic() - started


def _late(server: ServerProcess, token: str, head: bytes, drop: bytes) -> tuple[float, bytes, float]:
    """Seconds until the answer, the answer, and seconds until the end."""
    authorized = f"POST /wallets HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n".encode()
    answer = b""
    with connect(server.url) as connection:
        started = time.monotonic()
        connection.settimeout(0.3)
        connection.sendall(authorized + b"Content-Type: application/json\r\n" + head)
        while b"HTTP/1.1 4" not in answer and time.monotonic() - started < 2 * SLACK_SECONDS:
            connection.sendall(drop)
            with suppress(TimeoutError):
                answer += connection.recv(65536)
        seconds = time.monotonic() - started
        connection.settimeout(60)
        return seconds, answer + read_answers(connection), seconds_until_closed(connection)


def _without_body(server: ServerProcess, framing: bytes) -> tuple[bytes, float]:
    """The answer, and seconds until the end."""
    with connect(server.url) as connection:
        connection.sendall(b"POST /wallets HTTP/1.1\r\nHost: a\r\n%s\r\n\r\n" % framing)
        return read_answers(connection), seconds_until_closed(connection)


def _idle(server: ServerProcess, kept: float) -> tuple[list[int], float]:
    """The answers to two requests with half of the allowed rest between them, and seconds until the end."""
    with connect(server.url) as connection:
        connection.sendall(PROBE)
        first = statuses(read_answers(connection))
        pause(kept / 2)
        connection.sendall(PROBE)
        return first + statuses(read_answers(connection)), seconds_until_closed(connection)


def _one_after_another(server: ServerProcess, token: str, deadline: float) -> list[int]:
    """The answers to one request, and to five whose heads are sent with the body before them."""
    head = f"POST /wallets HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n".encode()
    head += b"Content-Type: application/json\r\n"
    body = b'{"userId": "known"}'
    begun = head + b"Content-Length: %d\r\n\r\n" % len(body)
    with connect(server.url) as connection:
        connection.sendall(begun + body)
        answers = statuses(read_answers(connection))
        connection.sendall(begun)
        for _ in range(5):  # past the deadline of the first, and well within each one's own
            pause(deadline / 4)
            connection.sendall(body + begun)
            answers += statuses(read_answers(connection))
    return answers


def test_a_connection_that_says_nothing_is_closed(slow_callers: SlowCallers) -> None:
    assert HEAD_SECONDS - 1 < slow_callers.silent.result() < HEAD_SECONDS + SLACK_SECONDS


@pytest.mark.parametrize("what", DROPS)
@pytest.mark.parametrize("used", [False, True])
def test_a_head_that_comes_in_drops_is_closed(slow_callers: SlowCallers, what: str, *, used: bool) -> None:
    # Empty lines begin no request: between two they may go on as long as silence may.
    patience = 7 if used and what == "empty lines" else HEAD_SECONDS
    assert patience - 1 < slow_callers.in_drops[what, used].result() < patience + SLACK_SECONDS


@pytest.mark.parametrize("framing", FRAMINGS)
def test_a_body_that_never_comes_holds_no_connection(
    slow_callers: SlowCallers, framing: bytes, deadline: float
) -> None:
    answer, until_closed = slow_callers.without_body[framing].result()
    assert statuses(answer) == [401], "it is not waited for"
    assert until_closed < deadline + 1 + SLACK_SECONDS


@pytest.mark.parametrize("what", LATE)
def test_a_late_body_is_408_within_the_deadline(
    slow_callers: SlowCallers, deadline: float, what: str
) -> None:
    seconds, answer, until_closed = slow_callers.late[what].result()
    assert deadline - 1 < seconds < deadline + SLACK_SECONDS
    is_problem(answer.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n"), 408, "request_timeout")
    assert until_closed < SLACK_SECONDS


def test_an_idle_connection_is_kept_for_the_time_of_the_setting(
    slow_callers: SlowCallers, env: dict[str, str]
) -> None:
    kept = float(env["KEEP_ALIVE_SECONDS"])
    answers, until_closed = slow_callers.idle.result()
    assert answers == [200, 200]
    assert kept - 1 < until_closed < kept + SLACK_SECONDS


@pytest.mark.parametrize(
    "head",
    [
        b"GET /livez HTTP/1.1\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        b"GET /livez HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n",
        b"GET /livez HTTP/2.0\r\nHost: a\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /livez HTTP/1.1\nHost: a\n\n",
        b"GET /livez HTTP/1.1\r\nHost: a\r\nx: y\r\n z\r\n\r\n",
        b"POST /livez HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET \xff HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
)
def test_anything_but_a_request_is_400(server: ServerProcess, head: bytes) -> None:
    is_problem(ask(server.url, head), 400, "malformed_request")


def test_http_1_0_needs_no_host(server: ServerProcess) -> None:
    assert statuses(ask(server.url, b"GET /livez HTTP/1.0\r\n\r\n")) == [200]


def test_an_offer_to_upgrade_is_declined_and_costs_no_request(server: ServerProcess) -> None:
    """As Java's client makes it in its first request."""
    upgrade = b"GET /livez HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    with connect(server.url) as connection:
        connection.sendall(upgrade + PROBE)
        assert statuses(read_answers(connection, 2)) == [200, 200]


# The body


def test_a_slow_body_is_accepted(server: ServerProcess, token: str) -> None:
    authorized = f"POST /wallets HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n".encode()
    body = b'{"userId": "slow"}'
    with connect(server.url) as connection:
        connection.sendall(
            authorized + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        )
        for number in range(len(body)):
            connection.sendall(body[number : number + 1])
            pause(0.05)  # as a slow line does
        assert statuses(read_answers(connection)) == [201]


def test_a_pipelined_request_has_a_deadline_of_its_own(slow_callers: SlowCallers) -> None:
    """The request before it used up its own deadline, on the same connection."""
    assert slow_callers.one_after_another.result() == [201, *[409] * 5]


def test_a_body_without_end_behind_a_refusal_ends(server: ServerProcess, deadline: float) -> None:
    before = resident(server)
    started = time.monotonic()
    with connect(server.url) as connection:
        connection.sendall(b"POST /wallets HTTP/1.1\r\nHost: a\r\nContent-Length: 999999999999\r\n\r\n")
        with suppress(ConnectionError):
            while time.monotonic() - started < 2 * SLACK_SECONDS:
                connection.sendall(bytes(100_000))
    assert time.monotonic() - started < deadline + 1 + SLACK_SECONDS
    assert resident(server) < before + 20 * MIB


def test_a_whole_body_behind_a_refusal_keeps_the_connection(server: ServerProcess) -> None:
    body = b"x" * 50_000
    with connect(server.url) as connection:
        connection.sendall(
            b"POST /wallets HTTP/1.1\r\nHost: a\r\nContent-Length: 50000\r\n\r\n" + body + PROBE
        )
        assert statuses(read_answers(connection, 2)) == [401, 200]


# One request after another


def test_a_pipeline_is_answered_in_order(server: ServerProcess) -> None:
    missing = b"GET /none HTTP/1.1\r\nHost: a\r\n\r\n"
    with connect(server.url) as connection:
        connection.sendall((PROBE + missing) * 100)
        assert statuses(read_answers(connection, 200)) == [200, 404] * 100


def test_a_mistake_in_a_pipeline_is_answered_in_its_turn(server: ServerProcess) -> None:
    with connect(server.url) as connection:
        connection.sendall(PROBE * 3 + b"GET /livez HTTP/1.1\r\n\r\n" + PROBE)
        assert statuses(read_answers(connection, 4)) == [200, 200, 200, 400]
        assert connection.recv(1) == b""


def test_a_broken_body_in_a_pipeline_is_answered_in_its_turn(server: ServerProcess) -> None:
    broken = b"POST /wallets HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nnot a length\r\n"
    with connect(server.url) as connection:
        connection.sendall(PROBE * 2 + broken)
        assert statuses(read_answers(connection, 3)) == [200, 200, 400]
        assert connection.recv(1) == b""


def test_a_pipeline_whose_answers_nobody_takes_takes_no_memory(
    server: ServerProcess, deadline: float
) -> None:
    before = resident(server)
    with connect(server.url) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(1)
        started = time.monotonic()
        ended = False
        while not ended and time.monotonic() - started < 2 * SLACK_SECONDS:
            try:
                connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n" * 500)
            except TimeoutError:
                continue  # it reads no further
            except ConnectionError:
                ended = True
    assert ended
    assert time.monotonic() - started < deadline + 2 + SLACK_SECONDS
    assert resident(server) < before + 30 * MIB


# Many


def _listing(token: str) -> bytes:
    return f"GET /wallets HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n".encode()


def test_an_idle_caller_without_a_good_token_loses_its_place_first(
    server: ServerProcess, env: dict[str, str], token: str
) -> None:
    places = int(env["MAX_CONNECTIONS"])
    with ExitStack() as stack:
        known = stack.enter_context(connect(server.url))
        known.sendall(_listing(token))
        assert statuses(read_answers(known)) == [200]
        resting = [stack.enter_context(connect(server.url)) for _ in range(places - 1)]
        for number, connection in enumerate(resting):
            connection.sendall(_listing("kms_wrong") if number % 2 else PROBE)
            assert statuses(read_answers(connection)) == [401 if number % 2 else 200]
        newest = stack.enter_context(connect(server.url))
        newest.sendall(_listing(token))
        assert statuses(read_answers(newest)) == [200], "the longest rest made room"
        assert resting[0].recv(1) == b""
        for connection in (known, resting[1], resting[-1]):
            connection.sendall(PROBE)
            assert statuses(read_answers(connection)) == [200], "and nobody else's"


def test_too_many_connections_are_refused_at_once_and_probes_answered(
    server: ServerProcess, env: dict[str, str], token: str
) -> None:
    def ask_again() -> bytes:
        return ask(server.url, _listing(token))

    with ExitStack() as stack:
        held = [stack.enter_context(connect(server.url)) for _ in range(int(env["MAX_CONNECTIONS"]))]
        for connection in held:
            connection.sendall(_listing(token))
        assert all(statuses(read_answers(connection)) == [200] for connection in held)
        wait_until(lambda: statuses(ask_again()) == [503])
        is_problem(answer := ask_again(), 503, "overloaded")
        assert b"retry-after: " in answer.lower()
        silent = [stack.enter_context(connect(server.url)) for _ in range(100)]
        started = time.monotonic()
        for path in (b"/livez", b"/readyz", b"/health"):
            answer = ask(server.url, PROBE.replace(b"/livez", path))
            assert statuses(answer) == [200]
            assert b"connection: close" in answer.lower()
        assert time.monotonic() - started < SLACK_SECONDS
        with ThreadPoolExecutor(10) as threads:
            longest = max(threads.map(seconds_until_closed, silent))
        assert longest < 1 + SLACK_SECONDS
        held[0].sendall(PROBE)
        assert statuses(read_answers(held[0])) == [200], "who was there first stays"
    assert len(server.wait_for("connections_full")) == 1
    wait_until(lambda: statuses(ask_again()) == [200])


# Small courtesies


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/health"])
def test_a_probe_may_ask_for_the_head_alone(server: ServerProcess, path: str) -> None:
    with connect(server.url) as connection:
        connection.sendall(f"HEAD {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode() + PROBE)
        head, _, rest = b"", b"", b""
        received = b""
        while received.count(b"HTTP/1.1 200") < 2:
            received += connection.recv(65536)
        head, _, rest = received.partition(b"\r\n\r\n")
        assert rest.startswith(b"HTTP/1.1 200"), "no body between them"
        assert b"content-length: " in head


@pytest.mark.parametrize("between", [" ", "  ", "     "])
def test_spaces_before_a_token_may_be_more_than_one(server: ServerProcess, token: str, between: str) -> None:
    head = f"GET /wallets HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer{between}{token}\r\n\r\n"
    assert statuses(ask(server.url, head.encode())) == [200]
