"""Who has which of an engine's connections: rows in the order of arrival, and past SQLAlchemy's hand-over.

Between two rows a connection stays checked out, at hand for the next: the pool's own hand-over, in a
greenlet, costs as much again as the statement. The pool gives what is free to whoever comes, also before
those who wait, so all wait here, where what is given back goes to whoever has waited longest.
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
    """A connection that is checked out, and the cursor on it that every row comes by."""

    proxied: PoolProxiedConnection
    cursor: psycopg.AsyncCursor[Any]


class Lines:
    """The connections of one engine. Belongs to one event loop."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self._at_hand: list[Line] = []
        self._waiting: deque[asyncio.Future[Line | None]] = deque()

    @property
    def in_use(self) -> int:
        """How many connections somebody holds now."""
        return self._pool.checkedout() - len(self._at_hand)

    @property
    def idle(self) -> int:
        """How many are open, and nobody holds them."""
        return self._pool.checkedin() + len(self._at_hand)

    async def take(self) -> Line:
        """A connection for a row, to be given back or ended.

        Raises:
            NoConnectionFree: all were in use for CHECKOUT_SECONDS.
            psycopg.Error: none could be opened.
        """
        until = asyncio.get_running_loop().time() + CHECKOUT_SECONDS
        while not self._at_hand:
            if self._has_room:
                return await self._opened()
            line = await self._turn(until)
            if line is not None:
                return line
        return self._at_hand.pop()

    def give_back(self, line: Line) -> None:
        """Let the next have a connection that is whole."""
        if not self._call_next(line):
            self._at_hand.append(line)

    async def end(self, line: Line) -> None:
        """Close a connection that nobody may have any more."""
        try:
            await greenlet_spawn(line.proxied.invalidate)
        finally:
            self._call_next(None)

    @asynccontextmanager
    async def pooled(self) -> AsyncIterator[AsyncConnection]:
        """SQLAlchemy's own connection.

        Raises:
            NoConnectionFree, psycopg.Error: as `take`.
        """
        until = asyncio.get_running_loop().time() + CHECKOUT_SECONDS
        while not self._has_room:
            line = self._at_hand.pop() if self._at_hand else await self._turn(until)
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
            await connection.__aexit__(None, None, None)  # unlike `close`, it ends also when cancelled
            self._call_next(None)

    async def hang_up(self) -> None:
        """Close all connections that nobody holds now; whoever comes next opens new ones."""
        while self._at_hand:
            self._at_hand.pop().proxied.close()
        await self.engine.dispose()

    async def _opened(self) -> Line:
        try:
            proxied = await greenlet_spawn(self.engine.sync_engine.raw_connection)
        except BaseException:
            self._call_next(None)
            raise
        driver: Any = proxied.driver_connection
        return Line(proxied, driver.cursor(binary=True))

    async def _turn(self, until: float) -> Line | None:
        """Wait for the next connection; None when there may be another way to one."""
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[Line | None] = loop.create_future()
        self._waiting.append(turn)
        timer = loop.call_at(until, _give_up, turn)
        try:
            return await turn
        except asyncio.CancelledError:
            # Whoever got its turn and goes away all the same passes it on.
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
        """Whether somebody was waiting; with None, to look for a connection once more."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(line)
                return True
        return False

    @property
    def _has_room(self) -> bool:
        """Whether the pool gives a connection, idle or new, without waiting for another's."""
        return self._pool.checkedout() < self._pool.size()

    @property
    def _pool(self) -> QueuePool:
        pool = self.engine.pool
        assert isinstance(pool, QueuePool)  # noqa: S101 # what create_async_engine makes for a server
        return pool


def _give_up(turn: asyncio.Future[Line | None]) -> None:
    if not turn.done():
        turn.set_exception(NoConnectionFree(f"no connection became free within {CHECKOUT_SECONDS} s"))
