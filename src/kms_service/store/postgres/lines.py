"""Hands out an engine's connections in order of arrival, without SQLAlchemy's own check-out for single rows.

Between two rows a connection stays checked out, ready for the next: the pool's own check-out, in a greenlet,
costs as much as the statement itself. The pool also gives a free connection to whoever comes, even before
those who wait. So everybody waits here, and a connection that is given back goes to whoever waits longest.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from sqlalchemy.exc import TimeoutError as NoConnectionFree
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.pool import PoolProxiedConnection, QueuePool
from sqlalchemy.util import greenlet_spawn

CHECKOUT_SECONDS = 2


@dataclass(frozen=True, slots=True)
class Line:
    """A connection that is checked out, and the cursor on it that rows are read with."""

    proxied: PoolProxiedConnection
    cursor: psycopg.AsyncCursor[Any]


class Lines:
    """The connections of one engine. They belong to one event loop."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self._at_hand: list[Line] = []
        self._waiting: deque[asyncio.Future[Line | None]] = deque()

    @property
    def in_use(self) -> int:
        """How many connections are in use now."""
        return self._pool.checkedout() - len(self._at_hand)

    @property
    def idle(self) -> int:
        """How many connections are open and not in use."""
        return self._pool.checkedin() + len(self._at_hand)

    async def take(self) -> Line:
        """A connection for a row; the caller must give it back or end it.

        Raises:
            NoConnectionFree: all were in use for CHECKOUT_SECONDS.
            psycopg.Error: none could be opened.
        """
        until = asyncio.get_running_loop().time() + CHECKOUT_SECONDS
        while not self._at_hand:
            if self._has_room:
                return await self._open()
            line = await self._wait_turn(until)
            if line is not None:
                return line
        return self._at_hand.pop()

    def give_back(self, line: Line) -> None:
        """Give back a connection that can be used again; whoever waits longest gets it."""
        if not self._call_next(line):
            self._at_hand.append(line)

    async def end(self, line: Line) -> None:
        """Close a connection that must not be used again."""
        try:
            await greenlet_spawn(line.proxied.invalidate)
        finally:
            self._call_next(None)

    @asynccontextmanager
    async def pooled_connection(self) -> AsyncIterator[AsyncConnection]:
        """SQLAlchemy's own connection.

        Raises:
            NoConnectionFree, psycopg.Error: as `take`.
        """
        until = asyncio.get_running_loop().time() + CHECKOUT_SECONDS
        while not self._has_room:
            line = self._at_hand.pop() if self._at_hand else await self._wait_turn(until)
            if line is not None:
                line.proxied.close()
        try:
            connection = await self.engine.connect()
        except BaseException:
            self._call_next(None)
            raise
        try:
            yield connection
        finally:
            await connection.__aexit__(None, None, None)  # unlike `close`, it finishes even if cancelled
            self._call_next(None)

    async def hang_up(self) -> None:
        """Close all idle connections; new ones are opened when needed."""
        while self._at_hand:
            self._at_hand.pop().proxied.close()
        await self.engine.dispose()

    async def _open(self) -> Line:
        try:
            proxied = await greenlet_spawn(self.engine.sync_engine.raw_connection)
        except BaseException:
            self._call_next(None)
            raise
        driver: Any = proxied.driver_connection
        return Line(proxied, driver.cursor(binary=True))

    async def _wait_turn(self, until: float) -> Line | None:
        """Wait for a connection; None if the caller should look for one again."""
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[Line | None] = loop.create_future()
        self._waiting.append(turn)
        timer = loop.call_at(until, _give_up, turn)
        try:
            return await turn
        except asyncio.CancelledError:
            # Cancelled after it got its turn: pass the turn on.
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._pass_on(turn.result())
            raise
        finally:
            timer.cancel()

    def _pass_on(self, line: Line | None) -> None:
        if line is None:
            self._call_next(None)
        else:
            self.give_back(line)

    def _call_next(self, line: Line | None) -> bool:
        """Pass a connection, or with None a hint to look again, to whoever waits longest; False if nobody."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(line)
                return True
        return False

    @property
    def _has_room(self) -> bool:
        """Whether the pool has a connection, idle or new, without waiting for one in use."""
        return self._pool.checkedout() < self._pool.size()

    @property
    def _pool(self) -> QueuePool:
        pool = self.engine.pool
        assert isinstance(pool, QueuePool)  # noqa: S101 # what create_async_engine makes for a server
        return pool


def _give_up(turn: asyncio.Future[Line | None]) -> None:
    if not turn.done():
        turn.set_exception(NoConnectionFree(f"no connection became free within {CHECKOUT_SECONDS} s"))
