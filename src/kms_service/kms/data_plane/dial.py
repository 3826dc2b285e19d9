"""Opens connections to KMS: addresses, a proxy's tunnel, and a TLS handshake that verifies the server."""

import asyncio
import socket
import ssl
from base64 import b64encode
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import unquote, urlsplit

from aiohappyeyeballs import AddrInfoType, start_connection

from kms_service.kms.data_plane.attempts import CONNECT_SECONDS
from kms_service.kms.data_plane.connection import Connection, NoAnswer

# How long one address may be silent before the next is tried: each zone of a Region has one.
NEXT_ADDRESS_SECONDS = 0.25
_PORTS = {"http": 80, "https": 443}
_MAX_PROXY_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class Way:
    """How to reach a server.

    Attributes:
        host: name or address; over TLS, the server must prove to be it.
        port: the server's.
        tls: what verifies the server; None for plain http.
        proxy: http URL of a proxy, maybe with a password; None to connect directly.
    """

    host: str
    port: int
    tls: ssl.SSLContext | None
    proxy: str | None = field(repr=False)


def way(url: str, tls: ssl.SSLContext | None, proxy: str | None) -> Way:
    """How to reach the server of this http(s) URL.

    Raises:
        ValueError: https without `tls`, or http with it.
    """
    parts = urlsplit(url)
    if (parts.scheme == "https") != (tls is not None):
        raise ValueError("https, and nothing else, goes with TLS")
    return Way(parts.hostname or "", parts.port or _PORTS[parts.scheme], tls, proxy)


async def dial(there: Way) -> Connection:
    """Connect, within CONNECT_SECONDS in all.

    Raises:
        NoAnswer: the server cannot be reached, or cannot prove who it is.
    """
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            reached = await _reach(there)
            return await _secure(reached, there)
    except TimeoutError:
        raise NoAnswer("ConnectTimeoutError", timed_out=True) from None
    except ssl.SSLError:
        raise NoAnswer("SSLError") from None
    except (OSError, RuntimeError):  # uvloop raises RuntimeError for some broken sockets
        raise NoAnswer("EndpointConnectionError") from None


async def _reach(there: Way) -> socket.socket:
    if there.proxy is None:
        return await _connect(there.host, there.port)
    try:
        return await _tunnel(there, there.proxy)
    except (OSError, RuntimeError) as error:
        if isinstance(error, TimeoutError):
            raise
        raise NoAnswer("ProxyConnectionError") from None


async def _secure(reached: socket.socket, there: Way) -> Connection:
    name = there.host if there.tls is not None else None
    try:
        _, connection = await asyncio.get_running_loop().create_connection(
            Connection, sock=reached, ssl=there.tls, server_hostname=name
        )
    except BaseException:
        reached.close()
        raise
    return connection


async def _connect(host: str, port: int) -> socket.socket:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    reached = await start_connection(
        cast("list[AddrInfoType]", found), happy_eyeballs_delay=NEXT_ADDRESS_SECONDS
    )
    # A request is one write, so waiting for more of it (Nagle) only costs time.
    reached.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return reached


async def _tunnel(there: Way, proxy: str) -> socket.socket:
    parts = urlsplit(proxy)
    reached = await _connect(parts.hostname or "", parts.port or _PORTS["http"])
    target = f"{there.host}:{there.port}"
    head = f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n"
    if parts.username is not None:
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        head += f"Proxy-Authorization: Basic {b64encode(user.encode()).decode()}\r\n"
    try:
        await _open(reached, f"{head}\r\n".encode())
    except BaseException:
        reached.close()
        raise
    return reached


async def _open(reached: socket.socket, request: bytes) -> None:
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(reached, request)
    said = b""
    # Nothing follows the proxy's head until we send something: TLS servers wait for the client's hello.
    while not said.endswith(b"\r\n\r\n"):
        more = await loop.sock_recv(reached, _MAX_PROXY_BYTES)
        said += more
        if not more or len(said) > _MAX_PROXY_BYTES:
            raise NoAnswer("ProxyConnectionError")
    if said.split(b"\r\n", 1)[0].split(b" ")[1:2] != [b"200"]:
        raise NoAnswer("ProxyConnectionError")
