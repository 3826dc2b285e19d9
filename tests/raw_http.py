"""A caller on a bare socket, who need not follow HTTP."""

import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

_BEGIN = re.compile(rb"HTTP/1\.1 (\d\d\d) ")
PROBE = b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n"


@contextmanager
def connect(url: str, seconds: float = 60) -> Iterator[socket.socket]:
    """A connection to the service, on which nothing has been sent."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=seconds) as connection:
        yield connection


def read_answers(connection: socket.socket, count: int = 1) -> bytes:
    """Everything received until `count` answers have begun and the last is whole, or until the end."""
    received = b""
    while len(begun := list(_BEGIN.finditer(received))) < count or not _whole(received[begun[-1].start() :]):
        try:
            part = connection.recv(65536)
        except ConnectionError:
            part = b""
        if not part:
            break
        received += part
    return received


def statuses(received: bytes) -> list[int]:
    """The status of each answer."""
    return [int(begin[1]) for begin in _BEGIN.finditer(received)]


def ask(url: str, request: bytes) -> bytes:
    """The answer to one request, on a new connection."""
    with connect(url) as connection:
        with suppress(ConnectionError):
            connection.sendall(request)
        return read_answers(connection)


def seconds_until_closed(connection: socket.socket) -> float:
    """How long the other side keeps the connection open, whatever it still sends."""
    started = time.monotonic()
    with suppress(ConnectionError):
        while connection.recv(65536):
            pass
    return time.monotonic() - started


def _whole(answer: bytes) -> bool:
    head, between, body = answer.partition(b"\r\n\r\n")
    if not between:
        return False
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return len(body) >= int(line.partition(b":")[2])
    return body.endswith(b"0\r\n\r\n")
