"""HTTP to KMS: kept-alive connections, each carrying one request at a time.

A small client over asyncio and httptools in place of a large one: a call costs 0.07 ms of CPU where aiohttp
takes 0.16, and a worker is 9 MB smaller. It needs little: one server, POST, answers of a few hundred bytes.
"""

import asyncio
import ssl
import time
from collections import deque
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from kms_service.kms.data_plane.connection import Answer, Connection, NoAnswer
from kms_service.kms.data_plane.dial import dial, way

# Shorter than AWS, and what lies between, keep an idle connection: who closes first breaks no request.
IDLE_SECONDS = 50.0
# A rush of callers would have hundreds of handshakes under way, and each take longer than a connection may.
DIALED_AT_ONCE = 32


class Transport:
    """Posts to one URL. Belongs to one event loop, and to its owner, who closes it.

    There is no bound on connections but that on calls in flight, which is their makers'; only so many are
    begun at once.

    Args:
        url: http(s).
        tls: verifies the server; None for http.
        proxy: http URL of a proxy, a secret where it holds a password; None to connect directly.
        clock: monotonic.
    """

    def __init__(
        self,
        url: str,
        tls: ssl.SSLContext | None,
        proxy: str | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._way = way(url, tls, proxy)
        self._path = urlsplit(url).path or "/"
        # With the time since when each is idle; the last to come is the first to go.
        self._idle: deque[tuple[float, Connection]] = deque()
        self._dialing = asyncio.Semaphore(DIALED_AT_ONCE)
        self._clock = clock
        self._closed = False

    async def post(self, headers: Mapping[str, str], body: bytes) -> Answer:
        """Send one request, once.

        Args:
            headers: `host` among them.
            body: may hold a plaintext DEK.

        Raises:
            NoAnswer: the connection failed, an answer was late, broken off, or longer than any of KMS's.
        """
        request = self._head(headers, len(body)) + body
        connection = self._take() or await self._dial()
        answer = await connection.ask(request)
        if connection.reusable and not self._closed:
            self._keep(connection)
        else:
            connection.end()
        return answer

    async def close(self) -> None:
        """End all connections; those under way end with their answer."""
        self._closed = True
        while self._idle:
            self._idle.pop()[1].end()

    def _head(self, headers: Mapping[str, str], length: int) -> bytes:
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        if (lines.count("\r"), lines.count("\n")) != (len(headers),) * 2 or not lines.isascii():
            # A line break in a credential would be a header of its own.
            raise NoAnswer("InvalidHeader")
        return f"POST {self._path} HTTP/1.1\r\n{lines}content-length: {length}\r\n\r\n".encode()

    async def _dial(self) -> Connection:
        async with self._dialing:
            # Meanwhile others may have had their answer.
            return self._take() or await dial(self._way)

    def _take(self) -> Connection | None:
        now = self._clock()
        while self._idle:
            since, connection = self._idle.pop()
            if connection.reusable and now - since < IDLE_SECONDS:
                return connection
            connection.end()
        return None

    def _keep(self, connection: Connection) -> None:
        now = self._clock()
        self._idle.append((now, connection))
        # The first have been idle for longest: after a rush they go one by one.
        while now - self._idle[0][0] >= IDLE_SECONDS:
            self._idle.popleft()[1].end()
