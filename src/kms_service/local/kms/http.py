"""KMS's JSON protocol over HTTP, on one event loop and with little work: benchmarks must not measure it.

Requests signed for STS are answered too: whose credentials these are.

Latency is added in this layer: an answer waits on a timer, which costs almost no CPU.
"""

import asyncio
import json
import os
import re
import socket
import struct
import time
from collections.abc import Callable, Coroutine
from email.utils import formatdate
from functools import lru_cache
from typing import Any, Final, cast

import httptools

from kms_service.local.kms.protocol import Call, ConnectionReset, Reply, failure
from kms_service.local.sts import identify

Answer = Callable[[Call], Reply | Coroutine[Any, Any, Reply]]
"""Answers a call at once, or when awaited; in that case it may raise `ConnectionReset` to give no answer."""

_SCOPE: Final = re.compile(rb"AWS4-HMAC-SHA256 Credential=([^/]+)/\d+/([a-z0-9-]+)/(kms|sts)/")
_REASONS: Final = {200: "OK"}
_ALIVE: Final = Reply(200, b"ok")
# Closing with a zero linger sends RST in place of FIN.
_NO_LINGER: Final = struct.pack("ii", 1, 0)


class HttpServer:
    """Serves `answer` on a bound socket; each answer waits for `latency` seconds. STS names `account`.

    `GET /livez` is answered without calling it.
    """

    def __init__(self, answer: Answer, latency: float, account: str) -> None:
        self.answer = answer
        self.account = account
        self.latency = latency
        self.connections: set[_Connection] = set()
        self.tasks: set[asyncio.Task[None]] = set()

    async def start(self, listener: socket.socket) -> None:
        """Accept connections."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), sock=listener, backlog=512)

    async def stop(self) -> None:
        """Accept no more, let the calls at work end, and close every connection."""
        self._server.close()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for connection in list(self.connections):
            connection.close()
        await asyncio.gather(*self.tasks, return_exceptions=True)  # what came in between
        await asyncio.sleep(0)  # the loop closes the sockets


class _Connection(asyncio.Protocol):
    """One keep-alive connection; requests come one after the other."""

    def __init__(self, server: HttpServer) -> None:
        self._server = server
        self._parser = httptools.HttpRequestParser(self)
        self._path, self._operation, self._body = b"", "", b""
        self._access_key = self._region = self._service = ""

    def on_message_begin(self) -> None:
        self._path, self._operation, self._body = b"", "", b""
        self._access_key = self._region = self._service = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._server.connections.add(self)

    def connection_lost(self, _exc: Exception | None) -> None:
        self._server.connections.discard(self)

    def close(self) -> None:
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.close()

    def on_url(self, url: bytes) -> None:
        self._path += url

    def on_header(self, name: bytes, value: bytes) -> None:
        match name.lower():
            case b"x-amz-target":
                self._operation = value.decode("latin-1").removeprefix("TrentService.")
            case b"authorization" if (scope := _SCOPE.match(value)) is not None:
                self._access_key, self._region = scope[1].decode("latin-1"), scope[2].decode()
                self._service = scope[3].decode()

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        call_id = _request_id()
        answer = self._answer(call_id)
        if isinstance(answer, Reply):
            self._send_later(answer, call_id)
        else:
            task = asyncio.get_running_loop().create_task(self._wait_for(answer, call_id))
            self._server.tasks.add(task)
            task.add_done_callback(self._server.tasks.discard)

    def _answer(self, call_id: str) -> Reply | Coroutine[Any, Any, Reply]:
        if self._path == b"/livez":
            return _ALIVE
        if self._service == "sts":
            told = identify(self._body, self._server.account, self._access_key, call_id)
            return Reply(*told, content_type="text/xml")
        try:
            params = json.loads(self._body)
        except ValueError:
            return failure("SerializationException", "The body is no JSON.")
        return self._server.answer(Call(self._operation, params, self._region, call_id, self._access_key))

    async def _wait_for(self, answer: Coroutine[Any, Any, Reply], call_id: str) -> None:
        try:
            self._send_later(await answer, call_id)
        except ConnectionReset:
            self._reset()
        except BaseException:
            self._transport.abort()
            raise

    def _send_later(self, reply: Reply, call_id: str) -> None:
        if self._server.latency:
            asyncio.get_running_loop().call_later(self._server.latency, self._send, reply, call_id)
        else:
            self._send(reply, call_id)

    def _send(self, reply: Reply, call_id: str) -> None:
        if self._transport.is_closing():
            return
        head = (
            f"HTTP/1.1 {reply.status} {_REASONS.get(reply.status, 'Refused')}\r\n"
            f"Date: {_date(int(time.time()))}\r\nx-amzn-RequestId: {call_id}\r\n"
            f"Content-Type: {reply.content_type}\r\n"
            f"Content-Length: {len(reply.body)}\r\n\r\n"
        )
        body = reply.body[: len(reply.body) // 2] if reply.cut else reply.body
        self._transport.write(head.encode() + body)
        if reply.cut or not self._parser.should_keep_alive():
            self._transport.close()

    def _reset(self) -> None:
        if not self._transport.is_closing():
            self._transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER
            )
            self._transport.abort()


@lru_cache(maxsize=1)
def _date(now: int) -> str:
    return formatdate(now, usegmt=True)


def _request_id() -> str:
    """A new UUID of version 4, in a third of the time that `uuid` takes."""
    digits = os.urandom(16).hex()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"
