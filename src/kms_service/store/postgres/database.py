"""The engine, and the one place where SQLAlchemy's and psycopg's errors become ours."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus
from sqlalchemy import func, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from kms_service import context
from kms_service.database_settings import DatabaseSettings
from kms_service.errors import DatabaseUnavailable, KmsServiceError
from kms_service.store.postgres import statements
from kms_service.store.postgres.connection import failures
from kms_service.store.postgres.connection.cutting import cut_off, cut_off_after
from kms_service.store.postgres.connection.dialling import STATEMENT_SECONDS, Dialler
from kms_service.store.postgres.connection.session import SessionRefused
from kms_service.store.postgres.lines import CHECKOUT_SECONDS, Line, Lines
from kms_service.store.postgres.prepared import PreparedStatement
from kms_service.telemetry import metrics
from kms_service.telemetry.logs import get_logger

# A frozen server does not apply its own time-outs, so the connection is cut from this side.
ROW_SECONDS = STATEMENT_SECONDS + 0.5
HOLD_SECONDS = 3 * STATEMENT_SECONDS
USAGE_SECONDS = 5.0
_READS_ONLY = text("SELECT current_setting('transaction_read_only') = 'on'")

log = get_logger()


class Database:
    """A pool of autocommit connections: every statement is its own transaction, outside `transaction()`.

    No connection is held between the statements of a use case, so none is held during a KMS call (invariant
    2). A connection on which a task was cancelled is closed, and never given to another (invariant 15).

    Args:
        engine: opens the connections.
        standby: whether a server that takes no writes will do.
    """

    def __init__(self, engine: AsyncEngine, *, standby: bool) -> None:
        self._standby = standby
        self._closed = False
        self._lines = Lines(engine)
        # Grows when all connections so far turn out to lead to the wrong server.
        self._generation = 0
        statements.observe(engine.sync_engine)

    @asynccontextmanager
    async def connection(self, hold_seconds: float = HOLD_SECONDS) -> AsyncIterator[AsyncConnection]:
        """A connection for one statement, or for a few that need no transaction.

        It is cut off if it is held for longer than `hold_seconds`.

        Raises:
            DatabaseUnavailable: no connection, a lost one, or a refused statement. Whether a write took
                place is unknown.
            IntegrityFailure: a stored value cannot be read, so this service did not write it.
        """
        with _failures():
            generation = self._generation
            async with self._check_server(generation), self._lines.pooled_connection() as connection:
                proxied = await connection.get_raw_connection()
                try:
                    with cut_off_after(hold_seconds, proxied.driver_connection):
                        yield connection
                except (SQLAlchemyError, psycopg.Error) as error:
                    if (
                        failures.is_of_another_server(error, standby=self._standby)
                        and not connection.invalidated
                    ):
                        await connection.invalidate()
                    raise
                finally:
                    await self._part_with(connection, generation)

    async def row(self, statement: PreparedStatement, parameters: Mapping[str, Any]) -> Any:
        """The row that a statement returns, with its columns by name, or None.

        Raises:
            DatabaseUnavailable, IntegrityFailure: as `connection`.
        """
        _refuse_late()
        try:
            return await self._row(statement, parameters)
        except (SQLAlchemyError, psycopg.Error) as error:
            raise _translate(error) from error

    @asynccontextmanager
    async def transaction(self, hold_seconds: float = HOLD_SECONDS) -> AsyncIterator[AsyncConnection]:
        """A connection whose statements are all committed at the end, or none of them.

        Raises:
            DatabaseUnavailable: as `connection`.
        """
        async with self.connection(hold_seconds) as connection:
            await connection.execution_options(isolation_level="READ COMMITTED")
            async with connection.begin():
                yield connection

    async def check_writable(self) -> bool:
        """Whether the server takes writes. If it must and does not, all connections to it are closed.

        Raises:
            DatabaseUnavailable: it takes none, such as a primary that became a standby, and DATABASE_STANDBY
                is not set; or as `connection`.
        """
        async with self.connection() as connection:
            reads_only = bool(await connection.scalar(_READS_ONLY))
            if reads_only and not self._standby:
                raise SessionRefused("the server takes no writes any more")
        return not reads_only

    def report_usage(self) -> None:
        """Set the gauges of this process's connections; asks PostgreSQL nothing."""
        metrics.database_connections.labels("in_use").set(self._lines.in_use)
        metrics.database_connections.labels("idle").set(self._lines.idle)

    @property
    def engine(self) -> AsyncEngine:
        """SQLAlchemy's engine, for what is not a statement of a use case."""
        return self._lines.engine

    @property
    def in_use(self) -> int:
        """How many connections are in use now."""
        return self._lines.in_use

    async def now(self) -> datetime:
        """The database's time, UTC.

        Raises:
            DatabaseUnavailable: as `connection`.
        """
        async with self.connection() as connection:
            at: datetime = (await connection.execute(select(func.clock_timestamp()))).scalar_one()
        return at

    async def hang_up(self) -> None:
        """Close all idle connections; the next statement opens a new one."""
        await self._lines.hang_up()

    async def close(self) -> None:
        """Close all idle connections now, and each of the others when its statement is done."""
        self._closed = True
        await self.hang_up()

    @asynccontextmanager
    async def _check_server(self, generation: int) -> AsyncIterator[None]:
        try:
            yield
        except (SQLAlchemyError, psycopg.Error) as error:
            if failures.is_of_another_server(error, standby=self._standby):
                await self._leave(generation)
            raise

    async def _leave(self, generation: int) -> None:
        # Close all of them, so that after a restart or failover one request fails and not one per connection.
        if generation == self._generation:
            self._generation += 1
            await self.hang_up()

    # Written out, without the context managers of `connection`, since every request comes here twice.
    async def _row(self, statement: PreparedStatement, parameters: Mapping[str, Any]) -> Any:
        """A row over the driver's own connection, which is given back only if it can be used again."""
        generation = self._generation
        line = await self._take(generation)
        driver = line.cursor.connection
        cut = asyncio.get_running_loop().call_later(ROW_SECONDS, cut_off, driver)
        whole = True
        try:
            return await statement.row(line.cursor, parameters)
        except psycopg.Error as error:
            if driver.closed or failures.is_of_another_server(error, standby=self._standby):
                whole = False
                await self._leave(generation)
            raise
        except BaseException:
            # Cancelled during a statement: the server may still be working on it.
            whole = False
            raise
        finally:
            cut.cancel()
            if whole and not self._is_over(generation) and not _is_amid_something(driver):
                self._lines.give_back(line)
            else:
                await self._lines.end(line)

    async def _take(self, generation: int) -> Line:
        try:
            return await self._lines.take()
        except (SQLAlchemyError, psycopg.Error) as error:
            if failures.is_of_another_server(error, standby=self._standby):
                await self._leave(generation)
            raise

    async def _part_with(self, connection: AsyncConnection, generation: int) -> None:
        # Invalidated here, since a disposed pool takes connections back without closing them.
        if not connection.invalidated and (
            self._is_over(generation)
            or _is_amid_something((await connection.get_raw_connection()).driver_connection)
        ):
            await connection.invalidate()

    def _is_over(self, generation: int) -> bool:
        return self._closed or generation != self._generation


def open_database(settings: DatabaseSettings, *, connections: int) -> Database:
    """A database with at most `connections` connections, which are opened when needed."""
    return Database(
        create_async_engine(
            "postgresql+psycopg://",
            async_creator=Dialler(settings).connect,
            isolation_level="AUTOCOMMIT",
            pool_size=connections,
            max_overflow=0,
            pool_timeout=CHECKOUT_SECONDS,
            pool_reset_on_return=None,  # `Database` checks itself that no connection is given back mid-work
            hide_parameters=True,
            use_native_hstore=False,  # no table has an hstore: spares each process a query of the types
        ),
        standby=settings.database_standby,
    )


def _is_amid_something(driver: Any) -> bool:
    return bool(driver.pgconn.transaction_status != TransactionStatus.IDLE)


@contextmanager
def _failures() -> Iterator[None]:
    _refuse_late()
    try:
        yield
    except (SQLAlchemyError, psycopg.Error) as error:
        raise _translate(error) from error


def _refuse_late() -> None:
    if context.time_left(CHECKOUT_SECONDS) <= 0:
        raise DatabaseUnavailable


def _translate(error: SQLAlchemyError | psycopg.Error) -> KmsServiceError:
    """Count and log an error; returns the error of this service to raise instead."""
    kind, reason = failures.kind(error), failures.reason(error)
    metrics.database_errors.labels(kind).inc()
    log.error("database_failed", errorType=kind, sqlstate=failures.sqlstate(error), reason=reason)
    return failures.translate(error, reason)
