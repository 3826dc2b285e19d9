"""What anybody can send without a token, and the peak memory of a serving process under it.

Every connection does one thing that it should not, for as long as it may, and then reconnects for another.
"""

import asyncio
import random
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import psutil

from benchmarks.rig import Service
from benchmarks.suite import Tell

BOUND_MIB = 300
_MIB = 2**20
TELL_SECONDS = 5
_SAMPLE_SECONDS = 0.1
_STAY_SECONDS = 12.0
_BLOCK = 64 * 1024


@dataclass(frozen=True, slots=True)
class Attack:
    """What one connection sends.

    Attributes:
        begins: what it sends once.
        goes_on: what it then sends again and again; nothing if empty.
        pause: seconds between two of these.
        reads: whether it reads the answers.
    """

    begins: bytes
    goes_on: bytes = b""
    pause: float = 0.0
    reads: bool = False


def _request(target: bytes, *headers: bytes) -> bytes:
    return b"\r\n".join([b"GET %s HTTP/1.1" % target, b"Host: a", *headers, b"", b""])


def _many(part: bytes) -> bytes:
    return part * (_BLOCK // len(part) + 1)


_BODY = b"POST /wallets HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n%s\r\n\r\n"
_WRONG_TOKEN = b"Authorization: Bearer kms_" + b"A" * 43

ATTACKS = {
    "silence": Attack(b""),
    "header lines without end": Attack(b"GET / HTTP/1.1\r\nHost: a\r\n", _many(b"x: y\r\n")),
    "long headers without end": Attack(b"GET / HTTP/1.1\r\n", _many(b"x: " + b"y" * 20_000 + b"\r\n")),
    "one header without end": Attack(b"GET / HTTP/1.1\r\nHost: a\r\nx: ", _many(b"y")),
    "a target without end": Attack(b"GET /", _many(b"y")),
    "a header in drops": Attack(b"GET / HTTP/1.1\r\nHost: a\r\nx: ", b"y", 0.5),
    "empty lines": Attack(b"", _many(b"\r\n")),
    "almost a head": Attack(b"GET / HTTP/1.1\r\nHost: a\r\nx: " + b"y" * 32_000, b"y", 1.0),
    "a body that never comes": Attack(_BODY % b"Content-Length: 65536"),
    "a body in drops": Attack(_BODY % b"Content-Length: 65536", b"{", 0.5),
    "a body without end": Attack(_BODY % b"Content-Length: 99999999999", bytes(_BLOCK)),
    "chunks of a byte": Attack(_BODY % b"Transfer-Encoding: chunked", _many(b"1\r\nx\r\n")),
    "a chunk's extension": Attack(_BODY % b"Transfer-Encoding: chunked" + b"1;", _many(b"x")),
    "trailers": Attack(_BODY % b"Transfer-Encoding: chunked" + b"0\r\n", _many(b"x: y\r\n")),
    "one trailer": Attack(_BODY % b"Transfer-Encoding: chunked" + b"0\r\nx: ", _many(b"y")),
    "whole bodies": Attack(b"", (_BODY % b"Content-Length: 65000") + bytes(65_000), reads=True),
    "probes, answers not taken": Attack(b"", _many(_request(b"/readyz"))),
    "probes, answers taken": Attack(b"", _many(_request(b"/readyz")), reads=True),
    "wrong tokens": Attack(b"", _many(_request(b"/wallets", _WRONG_TOKEN)), reads=True),
    "wrong tokens, answers not taken": Attack(b"", _many(_request(b"/wallets", _WRONG_TOKEN))),
    "the schema, answers not taken": Attack(b"", _many(_request(b"/openapi.json"))),
    "the documentation, answers not taken": Attack(b"", _many(_request(b"/docs"))),
    "metrics, answers not taken": Attack(b"", _many(_request(b"/metrics"))),
    "names of its own": Attack(b"", _many(_request(b"/%s" % (b"x" * 900)) * 3), reads=True),
    "noise": Attack(b"", bytes(range(256)) * 256),
    "TLS": Attack(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", _many(b"\x00")),
}


def hostile(service: Service, seconds: float, connections: int, tell: Tell) -> dict[str, Any]:
    """Attack a service of one worker with `connections` for `seconds`.

    Returns:
        `before_mib` and `peak_mib`, resident; `attacks`, how often each was begun; `held`, whether the peak
        is below the bound and the process is ready afterwards.
    """
    process = psutil.Process(service.pid)
    before = process.memory_info().rss
    begun: Counter[str] = Counter()
    peak = asyncio.run(_attack_and_watch(service, process, seconds, connections, begun, tell))
    ready = _is_ready_again(service)
    return {
        "seconds": seconds,
        "connections": connections,
        "before_mib": round(before / _MIB, 1),
        "peak_mib": round(peak / _MIB, 1),
        "bound_mib": BOUND_MIB,
        "attacks": dict(begun),
        "held": ready and peak < BOUND_MIB * _MIB,
    }


async def _attack_and_watch(
    service: Service,
    process: psutil.Process,
    seconds: float,
    connections: int,
    begun: Counter[str],
    tell: Tell,
) -> int:
    end = time.monotonic() + seconds
    host, _, port = service.url.removeprefix("http://").partition(":")
    address = (host, int(port))
    attackers = [
        asyncio.create_task(_attack(address, end, random.Random(number), begun))
        for number in range(connections)
    ]
    peak, told = 0, time.monotonic()
    while time.monotonic() < end:
        peak = max(peak, process.memory_info().rss)
        if time.monotonic() - told > TELL_SECONDS:
            told = time.monotonic()
            tell(f"{sum(begun.values())} attacks, {peak / _MIB:.0f} MiB at most")
        await asyncio.sleep(_SAMPLE_SECONDS)
    await asyncio.gather(*attackers)
    return max(peak, process.memory_info().rss)


async def _attack(address: tuple[str, int], end: float, choice: random.Random, begun: Counter[str]) -> None:
    while (left := end - time.monotonic()) > 0:
        name = choice.choice(list(ATTACKS))
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(min(left, _STAY_SECONDS)), _connect(address) as connection:
                begun[name] += 1
                await _go_on(connection, ATTACKS[name])


@asynccontextmanager
async def _connect(address: tuple[str, int]) -> AsyncIterator[socket.socket]:
    with socket.socket() as connection:
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, address)
        yield connection


async def _go_on(connection: socket.socket, attack: Attack) -> None:
    """Attack until the other side ends the connection."""
    loop = asyncio.get_running_loop()
    reading = asyncio.create_task(_read(connection)) if attack.reads else None
    try:
        await loop.sock_sendall(connection, attack.begins)
        while attack.goes_on:
            await loop.sock_sendall(connection, attack.goes_on)
            await asyncio.sleep(attack.pause)
        await _read(connection)
    finally:
        if reading is not None:
            reading.cancel()


async def _read(connection: socket.socket) -> None:
    with suppress(OSError):
        while await asyncio.get_running_loop().sock_recv(connection, _BLOCK):
            pass


def _is_ready_again(service: Service) -> bool:
    """Whether it is ready within seconds; during the attack a probe of the database may have been late."""
    host, _, port = service.url.removeprefix("http://").partition(":")
    end = time.monotonic() + TELL_SECONDS
    while time.monotonic() < end:
        with socket.create_connection((host, int(port)), timeout=TELL_SECONDS) as connection:
            connection.sendall(_request(b"/readyz"))
            if connection.recv(64).startswith(b"HTTP/1.1 200 "):
                return True
        time.sleep(_SAMPLE_SECONDS)
    return False
