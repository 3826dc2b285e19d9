"""Head and body of an answer in one write: uvicorn makes two, and each is a system call and a packet."""

import asyncio
from typing import Any, cast


def join_writes(transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> asyncio.Transport:
    """The transport, with consecutive writes joined into one."""
    return cast("asyncio.Transport", JoinedWrites(transport, loop))


class JoinedWrites:
    """A transport that holds a write back until the next one, or until the event loop's next turn."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._kept = b""

    def write(self, data: bytes) -> None:
        """Write `data` with what is held back; if nothing is, hold `data` back."""
        if self._kept:
            joined, self._kept = self._kept + data, b""
            self._transport.write(joined)
        elif data:
            self._kept = data
            self._loop.call_soon(self._let_go)

    def write_eof(self) -> None:
        """Write what is held back, then end the stream."""
        self._let_go()
        self._transport.write_eof()

    def close(self) -> None:
        """Close once everything is written."""
        self._let_go()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        """Everything else is the transport's own."""
        return getattr(self._transport, name)

    def _let_go(self) -> None:
        if self._kept:
            kept, self._kept = self._kept, b""
            self._transport.write(kept)
