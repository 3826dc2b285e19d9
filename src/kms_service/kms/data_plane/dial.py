"""A new connection to KMS: addresses, a proxy's tunnel, and a TLS handshake that verifies the server."""

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

# The next address is tried when one has not answered for so long: a Region's zones have one each.
NEXT_ADDRESS_SECONDS = 0.25
_PORTS = {"http": 80, "https": 443}
_MAX_PROXY_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class Way:
    """The way to a server.

    Attributes:
        host: name or address, verified if there is TLS.
        port: of the server.
        tls: None for plain http.
        proxy: http URL of a proxy, maybe with a password; None to connect directly.
    """

    host: str
    port: int
    tls: ssl.SSLContext | None
    proxy: str | None = field(repr=False)


def way(url: str, tls: ssl.SSLContext | None, proxy: str | None) -> Way:
    """The way to the server of this http(s) URL.

    Raises:
        ValueError: https without what verifies the server.
    """
    parts = urlsplit(url)
    if (parts.scheme == "https") != (tls is not None):
        raise ValueError("https, and nothing else, goes with TLS")
    return Way(parts.hostname or "", parts.port or _PORTS[parts.scheme], tls, proxy)


async def dial(there: Way) -> Connection:
    """Connect, within CONNECT_SECONDS for all of it.

    Raises:
        NoAnswer: nobody is there, or whoever is cannot prove to be the server.
    """
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            reached = await _reach(there)
            return await _secure(reached, there)
    except TimeoutError:
        raise NoAnswer("ConnectTimeoutError", timed_out=True) from None
    except ssl.SSLError:
        raise NoAnswer("SSLError") from None
    except (OSError, RuntimeError):  # uvloop raises the latter for some broken sockets
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
    # A request is one write: nothing is won by waiting for more of it.
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
    # Nothing follows the head until we speak: servers wait for a client's hello.
    while not said.endswith(b"\r\n\r\n"):
        more = await loop.sock_recv(reached, _MAX_PROXY_BYTES)
        said += more
        if not more or len(said) > _MAX_PROXY_BYTES:
            raise NoAnswer("ProxyConnectionError")
    if said.split(b"\r\n", 1)[0].split(b" ")[1:2] != [b"200"]:
        raise NoAnswer("ProxyConnectionError")
