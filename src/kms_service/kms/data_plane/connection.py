"""One HTTP/1.1 connection that carries one request at a time; httptools parses the answers.

An answer belongs to the request that was sent before it. Whatever could put the two out of step ends the
connection, such as a request that was given up, or a byte that nobody asked for.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import cast

import httptools

from kms_service.kms.data_plane.attempts import READ_SECONDS

MAX_ANSWER_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer; header names are in lower case. `body` may hold a plaintext DEK."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


class NoAnswer(Exception):
    """No complete answer came; `name` says why, in botocore's words, which the runbooks use."""

    def __init__(self, name: str, *, timed_out: bool = False) -> None:
        super().__init__(name)
        self.name = name
        self.timed_out = timed_out


class Connection(asyncio.Protocol):
    """A connection to KMS; `reusable` says whether it can carry another request."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[Answer] | None = None
        self._expect()
        self.reusable = False

    async def ask(self, request: bytes) -> Answer:
        """Send a request and wait for its answer, for READ_SECONDS at most.

        Args:
            request: head and body; may hold a plaintext DEK.

        Raises:
            NoAnswer: the connection broke, or the answer was late, too long or not HTTP.
        """
        if self._transport is None or self._transport.is_closing():
            raise NoAnswer("ConnectionClosedError")
        loop = asyncio.get_running_loop()
        self._expect()
        self._waiting = loop.create_future()
        late = loop.call_later(READ_SECONDS, self._fail, NoAnswer("ReadTimeoutError", timed_out=True))
        self._transport.write(request)
        try:
            return await self._waiting
        except asyncio.CancelledError:
            self.end()
            raise
        finally:
            late.cancel()
            self._waiting = None

    def end(self) -> None:
        """Close the connection at once."""
        self.reusable = False
        if self._transport is not None:
            self._transport.abort()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        # A cast, since uvloop's transports do not inherit from asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Parse what came, if an answer is awaited; else end the connection."""
        if self._waiting is None or self._waiting.done():
            self.end()
            return
        self._received += len(data)
        if self._received > MAX_ANSWER_BYTES:
            self._fail(NoAnswer("AnswerTooLong"))
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._fail(NoAnswer("HTTPClientError"))
            return
        if self._complete:
            self.reusable = self._persists and not self._overrun
            status = self._parser.get_status_code()
            self._waiting.set_result(Answer(status, self._headers, b"".join(self._body)))

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the request that waits, if there is one."""
        del exc
        self.reusable = False
        self._fail(NoAnswer("ConnectionClosedError"))

    # What httptools calls.

    def on_message_begin(self) -> None:
        """Note that an answer begins; if one was complete already, nobody asked for this one."""
        self._overrun = self._complete

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep one header."""
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        """Keep a part of the body."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """Note that the answer is complete, unless it is an interim one (1xx)."""
        self._complete = self._parser.get_status_code() >= HTTPStatus.OK
        self._persists = self._parser.should_keep_alive()
        if not self._complete:
            self._headers.clear()

    def _expect(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._received = 0
        self._complete = self._overrun = self._persists = False

    def _fail(self, error: NoAnswer) -> None:
        self.end()
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(error)
