"""The transport on raw sockets and real TLS: what it sends, what it trusts, and how long it waits."""

import asyncio
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import pytest
import uvloop

from authority import CLIENT, SERVER, Authority
from clock import Clock
from event_loop import turns
from kms_service.kms.data_plane import transport as transports
from kms_service.kms.data_plane.attempts import ATTEMPT_SECONDS, CONNECT_SECONDS, READ_SECONDS
from kms_service.kms.data_plane.connection import MAX_ANSWER_BYTES, Answer, Connection, NoAnswer
from kms_service.kms.data_plane.dial import Way, dial
from kms_service.kms.data_plane.transport import Transport
from waiting import pause_async, wait_until_async

T = TypeVar("T")
Speak = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
_HEADERS = {
    "content-type": "application/x-amz-json-1.1",
    "host": "kms.example",
    "user-agent": "kms-service/1",
}


_loops: list[Callable[[], asyncio.AbstractEventLoop]] = []


@pytest.fixture(
    params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"], autouse=True
)
def _loop(request: pytest.FixtureRequest) -> Iterator[None]:
    """Both event loops, since they differ in how they connect and what they raise."""
    _loops.append(request.param)
    yield
    _loops.clear()


def _run(work: Coroutine[object, object, T]) -> T:
    with asyncio.Runner(loop_factory=_loops[-1]) as runner:
        return runner.run(work)


def _reply(body: bytes, head: bytes = b"HTTP/1.1 200 OK\r\n") -> bytes:
    return head + b"Content-Length: %d\r\nX-Amzn-RequestId: id\r\n\r\n" % len(body) + body


def _saying(*parts: bytes, hang: bool = False) -> Speak:
    """A server that reads a request, says this, and closes."""

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for part in parts:
            writer.write(part)
            await writer.drain()
        if hang:
            await reader.read()

    return speak


async def _with_server(
    speak: Speak,
    act: Callable[[str], Awaitable[Answer]],
    context: ssl.SSLContext | None = None,
) -> tuple[Answer, int]:
    """What `act` gets of a server at this URL, and how many connections it took."""
    connections: set[asyncio.Task[None] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.add(asyncio.current_task())
        # The client goes away early, as tests have it do.
        with suppress(OSError, asyncio.IncompleteReadError):
            await speak(reader, writer)
        writer.close()
        with suppress(OSError, TimeoutError):
            await asyncio.wait_for(writer.wait_closed(), 5)
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    try:
        return await act(f"{'https' if context else 'http'}://127.0.0.1:{port}/"), len(connections)
    finally:
        server.close()
        await asyncio.wait_for(asyncio.gather(*filter(None, connections), return_exceptions=True), 20)
        await turns(3)  # what was aborted is closed


def _post(
    speak: Speak, *, context: ssl.SSLContext | None = None, tls: ssl.SSLContext | None = None, times: int = 1
) -> tuple[Answer, int]:
    async def act(url: str) -> Answer:
        transport = Transport(url, tls, None)
        try:
            for _ in range(times):
                answer = await transport.post(_HEADERS, b"{}")
            return answer
        finally:
            await transport.close()

    return _run(_with_server(speak, act, context))


def test_a_request_is_sent_as_it_was_signed() -> None:
    seen = b""

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal seen
        seen = await reader.readuntil(b"\r\n\r\n") + await reader.readexactly(2)
        writer.write(_reply(b'{"a":1}'))

    answer, _ = _post(speak)
    assert (answer.status, answer.body, answer.headers["x-amzn-requestid"]) == (200, b'{"a":1}', "id")
    head, _, body = seen.decode().partition("\r\n\r\n")
    first, *lines = head.split("\r\n")
    names = [line.split(":")[0].lower() for line in lines]
    assert first == "POST / HTTP/1.1"
    assert sorted(names) == ["content-length", "content-type", "host", "user-agent"]
    assert body == "{}"


def _repeating(answer: bytes) -> Speak:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(2)
            writer.write(answer)

    return speak


_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        _reply(b"{}"),
        _reply(b""),
        _reply(b"{}", b"HTTP/1.1 400 Bad Request\r\n"),
        _CHUNKED,
        b"HTTP/1.1 100 Continue\r\n\r\n" + _reply(b"{}"),
    ],
    ids=["success", "empty", "failure", "chunked", "after an interim answer"],
)
def test_a_connection_is_used_again(answer: bytes) -> None:
    told, connections = _post(_repeating(answer), times=5)
    assert connections == 1
    assert told.status in {200, 400}
    assert told.body in {b"", b"{}"}


@pytest.mark.parametrize(
    "answer",
    [
        _reply(b"{}", b"HTTP/1.1 200 OK\r\nConnection: close\r\n"),
        _reply(b"{}", b"HTTP/1.0 200 OK\r\n"),
        _reply(b"{}") * 2,
        _reply(b"{}") + b"HTTP/1.1 2",
    ],
    ids=["says that it closes", "is of an old kind", "answers twice", "goes on"],
)
def test_a_connection_that_might_answer_the_wrong_request_is_not_used_again(answer: bytes) -> None:
    assert _post(_repeating(answer), times=3)[1] == 3


def test_bytes_that_nobody_asked_for_end_the_connection() -> None:
    taken, ended = asyncio.Event(), asyncio.Event()

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(2)
        writer.write(_reply(b'"first"'))
        await taken.wait()
        taken.clear()
        writer.write(_reply(b'"nobody asked"'))
        try:
            await reader.read()
        finally:
            ended.set()

    async def act(url: str) -> Answer:
        transport = Transport(url, None, None)
        try:
            await transport.post(_HEADERS, b"{}")
            taken.set()
            await asyncio.wait_for(ended.wait(), 60)
            answer = await transport.post(_HEADERS, b"{}")
            taken.set()
            return answer
        finally:
            await transport.close()

    answer, connections = _run(_with_server(speak, act))
    assert (answer.body, connections) == (b'"first"', 2)


def test_a_connection_that_the_server_ended_is_not_used() -> None:
    async def act(url: str) -> Answer:
        transport = Transport(url, None, None)
        try:
            for _ in range(3):
                answer = await transport.post(_HEADERS, b"{}")
                await wait_until_async(lambda: not any(each.reusable for _, each in transport._idle))
            return answer
        finally:
            await transport.close()

    answer, connections = _run(_with_server(_saying(_reply(b"{}")), act))
    assert (answer.body, connections) == (b"{}", 3)


def test_a_connection_that_the_server_may_be_about_to_end_is_not_used() -> None:
    async def act(url: str) -> Answer:
        clock = Clock()
        transport = Transport(url, None, None, clock)
        try:
            for _ in range(3):
                answer = await transport.post(_HEADERS, b"{}")
                clock.pass_by(transports.IDLE_SECONDS)
            return answer
        finally:
            await transport.close()

    assert _run(_with_server(_repeating(_reply(b"{}")), act))[1] == 3


def test_connections_of_a_rush_are_closed_when_it_is_over() -> None:
    async def act(url: str) -> Answer:
        clock = Clock()
        transport = Transport(url, None, None, clock)
        try:
            await asyncio.gather(*(transport.post(_HEADERS, b"{}") for _ in range(20)))
            clock.pass_by(transports.IDLE_SECONDS / 2)
            await transport.post(_HEADERS, b"{}")
            assert len(transport._idle) > 1
            clock.pass_by(transports.IDLE_SECONDS / 2)
            answer = await transport.post(_HEADERS, b"{}")
            assert len(transport._idle) == 1, "the one that goes on being used"
            return answer
        finally:
            await transport.close()

    _run(_with_server(_repeating(_reply(b"{}")), act))


def test_a_rush_of_callers_dials_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of handshakes at once would each be too slow, and open the circuits of healthy keys."""
    now = most = 0

    async def dial_and_count(there: Way) -> Connection:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await wait_until_async(lambda: most >= transports.DIALED_AT_ONCE)
        try:
            return await dial(there)
        finally:
            now -= 1

    monkeypatch.setattr(transports, "dial", dial_and_count)
    # Thirty-two at once may be late on a busy machine, which is not what this is about.
    monkeypatch.setattr("kms_service.kms.data_plane.dial.CONNECT_SECONDS", 60)

    async def act(url: str) -> Answer:
        transport = Transport(url, None, None)
        try:
            return (await asyncio.gather(*(transport.post(_HEADERS, b"{}") for _ in range(200))))[-1]
        finally:
            await transport.close()

    _, connections = _run(_with_server(_repeating(_reply(b"{}")), act))
    assert most == transports.DIALED_AT_ONCE
    # Whoever waited took a connection that had become idle.
    assert connections < 200


@pytest.mark.parametrize("value", ["a\r\nx-amz-target: TrentService.DeleteAlias", "a\nb", "a\rb", "\u00e9"])
def test_a_credential_cannot_make_a_header(value: str) -> None:
    async def act() -> Answer:
        transport = Transport("http://127.0.0.1:1/", None, None)
        return await transport.post({**_HEADERS, "x-amz-security-token": value}, b"{}")

    with pytest.raises(NoAnswer, match="InvalidHeader"):
        _run(act())


@pytest.mark.parametrize(("url", "tls"), [("https://kms.example", False), ("http://kms.example", True)])
def test_https_without_verification_is_refused_at_once(url: str, tls: bool) -> None:
    with pytest.raises(ValueError, match="TLS"):
        Transport(url, ssl.create_default_context() if tls else None, None)


def test_a_redirection_is_an_answer_and_not_followed() -> None:
    head = b"HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1:1/\r\n"
    assert _post(_saying(_reply(b"", head)))[0].status == 307


@pytest.mark.parametrize(
    ("parts", "name"),
    [
        ([], "ConnectionClosedError"),
        ([b"HTTP/1.1 200 OK\r\nContent-Le"], "ConnectionClosedError"),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"], "ConnectionClosedError"),
        ([b"SSH-2.0-OpenSSH_9.6\r\n\r\n"], "HTTPClientError"),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"], "HTTPClientError"),
        ([b"HTTP/1.1 200 OK\r\nA: " + b"a" * MAX_ANSWER_BYTES + b"\r\n\r\n"], "AnswerTooLong"),
        ([_reply(b" " * (2 * MAX_ANSWER_BYTES))], "AnswerTooLong"),
    ],
    ids=["nothing", "half a head", "half a body", "no HTTP", "no length", "a long header", "a long body"],
)
def test_a_broken_answer_is_reported_by_name(parts: list[bytes], name: str) -> None:
    with pytest.raises(NoAnswer) as failure:
        _post(_saying(*parts))
    assert (failure.value.name, failure.value.timed_out) == (name, False)
    # What aiohttp said may quote the answer.
    assert failure.value.__suppress_context__ or failure.value.__context__ is None


@pytest.mark.parametrize("parts", [[], [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"]], ids=str)
def test_a_silent_server_is_waited_for_as_long_as_an_answer_may_take(
    monkeypatch: pytest.MonkeyPatch, parts: list[bytes]
) -> None:
    monkeypatch.setattr("kms_service.kms.data_plane.connection.READ_SECONDS", 0.3)
    started = time.monotonic()
    with pytest.raises(NoAnswer) as failure:
        _post(_saying(*parts, hang=True))
    assert (failure.value.name, failure.value.timed_out) == ("ReadTimeoutError", True)
    assert time.monotonic() - started > 0.25


def test_a_server_that_trickles_is_waited_for_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kms_service.kms.data_plane.connection.READ_SECONDS", 0.3)

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(100):
            writer.write(b"x")
            await writer.drain()
            await pause_async(0.05)  # a part of the time that the client waits

    started = time.monotonic()
    with pytest.raises(NoAnswer) as failure:
        _post(speak)
    assert failure.value.timed_out
    assert time.monotonic() - started > 0.25


def test_a_handshake_that_never_ends_is_waited_for_as_long_as_it_may_take(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("kms_service.kms.data_plane.dial.CONNECT_SECONDS", 0.3)

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del writer
        await reader.read(-1)

    async def act(url: str) -> Answer:
        transport = Transport(url.replace("http", "https"), ssl.create_default_context(), None)
        try:
            return await transport.post(_HEADERS, b"{}")
        finally:
            await transport.close()

    started = time.monotonic()
    with pytest.raises(NoAnswer) as failure:
        _run(_with_server(silent, act))
    assert (failure.value.name, failure.value.timed_out) == ("ConnectTimeoutError", True)
    assert time.monotonic() - started > 0.25


def test_an_attempt_takes_three_seconds_at_most() -> None:
    """One to connect, two for an answer."""
    assert (CONNECT_SECONDS, READ_SECONDS, ATTEMPT_SECONDS) == (1, 2, 3)


def test_a_refused_connection_is_not_a_time_out() -> None:
    async def act() -> Answer:
        transport = Transport("http://127.0.0.1:1/", None, None)
        try:
            return await transport.post(_HEADERS, b"{}")
        finally:
            await transport.close()

    with pytest.raises(NoAnswer) as failure:
        _run(act())
    assert (failure.value.name, failure.value.timed_out) == ("EndpointConnectionError", False)


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ours"), "ours")


def _server_context(authority: Authority) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("server", SERVER))
    return context


def test_a_server_with_our_authoritys_certificate_is_believed(ours: Authority) -> None:
    trusting = ssl.create_default_context(cafile=ours.certificate_file)
    assert _post(_saying(_reply(b"{}")), context=_server_context(ours), tls=trusting)[0].status == 200


def test_a_server_with_a_strangers_certificate_learns_nothing(ours: Authority, tmp_path: Path) -> None:
    heard: list[bytes] = []

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del writer
        heard.append(await reader.read(1))

    stranger = Authority(tmp_path, "theirs")
    trusting = ssl.create_default_context(cafile=ours.certificate_file)
    with pytest.raises(NoAnswer) as failure:
        _post(speak, context=_server_context(stranger), tls=trusting)
    assert (failure.value.name, failure.value.timed_out) == ("SSLError", False)
    assert not any(heard)


def test_a_certificate_for_another_name_is_refused(ours: Authority) -> None:
    trusting = ssl.create_default_context(cafile=ours.certificate_file)

    async def act(url: str) -> Answer:
        transport = Transport(url.replace("127.0.0.1", "localhost"), trusting, None)
        try:
            return await transport.post(_HEADERS, b"{}")
        finally:
            await transport.close()

    with pytest.raises(NoAnswer, match="SSLError"):
        _run(_with_server(_saying(_reply(b"{}")), act, _server_context(ours)))


def test_a_certificate_for_another_use_is_refused(ours: Authority) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*ours.issue("client", CLIENT))
    with pytest.raises(NoAnswer, match="SSLError"):
        _post(
            _saying(_reply(b"{}")),
            context=context,
            tls=ssl.create_default_context(cafile=ours.certificate_file),
        )


def test_a_call_that_is_cancelled_gives_its_connection_to_nobody(ours: Authority) -> None:
    """The answer to an abandoned request must never become the answer to the next one."""
    del ours

    asked, given_up = asyncio.Event(), asyncio.Event()

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(2)
            name = head.decode().split("user-agent: ")[1].split("\r\n")[0]
            if name == "slow":
                asked.set()
                await given_up.wait()
            writer.write(_reply(name.encode()))

    async def act(url: str) -> Answer:
        transport = Transport(url, None, None)
        try:
            slow = asyncio.create_task(transport.post({**_HEADERS, "user-agent": "slow"}, b"{}"))
            await asyncio.wait_for(asked.wait(), 60)
            slow.cancel()
            with pytest.raises(asyncio.CancelledError):
                await slow
            given_up.set()
            return await transport.post({**_HEADERS, "user-agent": "next"}, b"{}")
        finally:
            await transport.close()

    answer, connections = _run(_with_server(speak, act))
    assert (answer.body, connections) == (b"next", 2)


def test_a_proxy_is_asked_for_a_tunnel() -> None:
    asked = b""

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked = await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")

    async def act(url: str) -> Answer:
        proxy = url.replace("http://", "http://user:canary@")
        transport = Transport("https://kms.example/", ssl.create_default_context(), proxy)
        try:
            return await transport.post(_HEADERS, b"canary-body")
        finally:
            await transport.close()

    with pytest.raises(NoAnswer, match="ProxyConnectionError") as failure:
        _run(_with_server(speak, act))
    assert asked.startswith(b"CONNECT kms.example:443 HTTP/1.1\r\n")
    assert b"Proxy-Authorization: Basic " in asked
    assert b"canary" not in asked
    assert "canary" not in f"{failure.value!r}"


def test_a_tunnel_is_verified_like_a_direct_connection(ours: Authority, tmp_path: Path) -> None:
    """The server behind a proxy is verified, and the proxy, which passes bytes on, learns nothing."""
    passed: list[bytes] = []

    async def act(server: str) -> Answer:
        async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(b"\r\n\r\n")
            host, port = head.split(b" ")[1].decode().split(":")
            there, onward = await asyncio.open_connection(host, int(port))
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")

            async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
                while data := await source.read(4096):
                    passed.append(data)
                    target.write(data)
                target.close()

            with suppress(OSError):
                await asyncio.gather(copy(reader, onward), copy(there, writer))

        async def through(url: str) -> Answer:
            stranger = Authority(tmp_path, "theirs")
            trusting, wrong = (
                Transport(server, ssl.create_default_context(cafile=each.certificate_file), url)
                for each in (ours, stranger)
            )
            with pytest.raises(NoAnswer, match="SSLError"):
                await wrong.post(_HEADERS, b"canary")
            answer = await trusting.post(_HEADERS, b"canary")
            await trusting.close()
            return answer

        return (await _with_server(proxy, through))[0]

    answer, _ = _run(_with_server(_saying(_reply(b"{}")), act, _server_context(ours)))
    assert answer.body == b"{}"
    assert passed
    assert b"canary" not in b"".join(passed)


@pytest.mark.parametrize("reply", [b"HTTP/1.1 407 No\r\n\r\n", b"HTTP/1.1 200", b"x" * 40_000, b"\r\n\r\n"])
def test_a_proxy_that_opens_no_tunnel_is_reported(reply: bytes) -> None:
    async def act(url: str) -> Answer:
        transport = Transport("https://kms.example/", ssl.create_default_context(), url)
        try:
            return await transport.post(_HEADERS, b"{}")
        finally:
            await transport.close()

    with pytest.raises(NoAnswer, match="ProxyConnectionError"):
        _run(_with_server(_saying(reply), act))


def test_a_proxy_that_is_not_there_is_reported() -> None:
    async def act() -> Answer:
        transport = Transport("https://kms.example/", ssl.create_default_context(), "http://127.0.0.1:1")
        return await transport.post(_HEADERS, b"{}")

    with pytest.raises(NoAnswer, match="ProxyConnectionError"):
        _run(act())


def test_an_address_that_does_not_answer_costs_a_quarter_of_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when one zone of a Region is away: its address hangs, and the next one is tried."""

    async def act(url: str) -> Answer:
        port = int(url.rsplit(":", 1)[1].strip("/"))
        loop = asyncio.get_running_loop()

        async def resolve(*_: object, **__: object) -> list[tuple[object, ...]]:
            # 192.0.2.0/24 is nobody's; what is sent there is lost, or refused at once where there is no road.
            kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
            return [(*kind, ("192.0.2.1", port)), (*kind, ("127.0.0.1", port))]

        class Loop:
            def __getattr__(self, name: str) -> object:
                return resolve if name == "getaddrinfo" else getattr(loop, name)

        monkeypatch.setattr(asyncio, "get_running_loop", Loop)
        took: list[float] = []
        try:
            while not took or (min(took) > 0.9 and len(took) < 5):  # a busy machine may hold up any one
                transport = Transport(f"http://kms.example:{port}/", None, None)
                started = time.monotonic()
                answer = await transport.post(_HEADERS, b"{}")
                took.append(time.monotonic() - started)
                await transport.close()
        finally:
            monkeypatch.undo()
        assert min(took) < 0.9
        return answer

    assert _run(_with_server(_saying(_reply(b"{}")), act))[0].status == 200


def test_an_unknown_host_name_is_reported() -> None:
    async def act() -> Answer:
        transport = Transport("https://kms.invalid/", ssl.create_default_context(), None)
        return await transport.post(_HEADERS, b"{}")

    with pytest.raises(NoAnswer) as failure:
        _run(act())
    assert failure.value.name in {"EndpointConnectionError", "ConnectTimeoutError"}
