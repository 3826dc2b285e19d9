"""The engine, and the one place where SQLAlchemy's and psycopg's errors become ours."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import psycopg
from sqlalchemy import URL, Connection, Engine, create_engine, func, make_url, select
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import QueuePool

from kms_service import deadline
from kms_service.errors import DatabaseUnavailable
from kms_service.settings import Settings
from kms_service.store.postgres import statements
from kms_service.store.postgres.prepared import PreparedStatement
from kms_service.telemetry import metrics
from kms_service.telemetry.logs import get_logger

CONNECT_SECONDS = 2
CHECKOUT_SECONDS = 2
STATEMENT_SECONDS = 3
USAGE_SECONDS = 5.0

log = get_logger()


class Database:
    """A pool of autocommit connections: every statement is its own transaction, outside `transaction()`.

    No connection is held between statements of a use case, so none waits on KMS (invariant 2).
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._closed = False
        statements.observe(engine)

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection for one statement, or a few that need not hold together.

        Raises:
            DatabaseUnavailable: no connection, a lost one, or a refused statement. Whether a write took
                place is unknown.
        """
        if deadline.remaining(CHECKOUT_SECONDS) <= 0:
            raise DatabaseUnavailable
        try:
            with self.engine.connect() as connection:
                try:
                    yield connection
                finally:
                    self._part_with(connection)
        except (SQLAlchemyError, psycopg.Error) as error:
            kind = _kind(error)
            metrics.database_errors.labels(kind).inc()
            log.error("database_failed", errorType=kind, sqlstate=_sqlstate(error))
            raise DatabaseUnavailable from error

    def row(self, statement: PreparedStatement, parameters: Mapping[str, Any]) -> tuple[Any, ...] | None:
        """The row that a statement answers, or None.

        Raises:
            DatabaseUnavailable: as `connection`.
        """
        with self.connection() as connection:
            return statement.row(connection, parameters)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A connection whose statements are committed together at the end, or none of them.

        Raises:
            DatabaseUnavailable: as `connection`.
        """
        with self.connection() as connection:
            connection.execution_options(isolation_level="READ COMMITTED")
            with connection.begin():
                yield connection

    def report_usage(self) -> None:
        """Set the gauges of this process's connections; asks PostgreSQL nothing."""
        pool = self.engine.pool
        assert isinstance(pool, QueuePool)  # noqa: S101 # what create_engine makes for a server
        metrics.database_connections.labels("in_use").set(pool.checkedout())
        metrics.database_connections.labels("idle").set(pool.checkedin())

    def now(self) -> datetime:
        """The database's time, UTC.

        Raises:
            DatabaseUnavailable: as `connection`.
        """
        with self.connection() as connection:
            at: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
        return at

    def close(self) -> None:
        """Close all idle connections now, and each that is in use when its statement is done."""
        self._closed = True
        self.engine.dispose()

    def _part_with(self, connection: Connection) -> None:
        # A pool that was disposed of takes connections back and never closes them.
        if self._closed and not connection.invalidated:
            connection.detach()


def open_database(settings: Settings, *, connections: int) -> Database:
    """A database with at most `connections` connections, opened when first needed."""
    return Database(
        create_engine(
            sqlalchemy_url(settings.database_url.get_secret_value()),
            isolation_level="AUTOCOMMIT",
            pool_size=connections,
            max_overflow=0,
            pool_timeout=CHECKOUT_SECONDS,
            hide_parameters=True,
            connect_args={
                "connect_timeout": CONNECT_SECONDS,
                "application_name": "kms-service",
                "options": f"-c statement_timeout={STATEMENT_SECONDS}s -c lock_timeout={STATEMENT_SECONDS}s "
                "-c timezone=UTC",
                "keepalives_idle": 10,
                "keepalives_interval": 3,
                "keepalives_count": 3,
                "tcp_user_timeout": 1000 * STATEMENT_SECONDS,
            },
        )
    )


def sqlalchemy_url(url: str) -> URL:
    """A libpq URL for SQLAlchemy on psycopg 3."""
    return make_url(url).set(drivername="postgresql+psycopg")


def _kind(error: SQLAlchemyError | psycopg.Error) -> str:
    # psycopg has a class for every SQLSTATE; its DBAPI base has the name that SQLAlchemy's own has.
    bases = (cls.__name__ for cls in type(error).__mro__ if cls.__module__ == psycopg.__name__)
    return next(bases, type(error).__name__)


def _sqlstate(error: SQLAlchemyError | psycopg.Error) -> str | None:
    return getattr(error.orig if isinstance(error, DBAPIError) else error, "sqlstate", None)
