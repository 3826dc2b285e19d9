"""Statements that every request waits for: compiled once, then handed to psycopg as text.

SQLAlchemy writes the statement and keeps the connections; what it does besides at each execution costs as
much again as the statement itself (`benchmarks/`), so these few go past it. psycopg prepares them on the
server after five executions.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import psycopg
from sqlalchemy import URL, ClauseElement, Connection

from kms_service.store.postgres import statements


class PreparedStatement:
    """A statement with named parameters that answers one row, or none."""

    def __init__(self, statement: ClauseElement) -> None:
        self._statement = statement

    def row(self, connection: Connection, parameters: Mapping[str, Any]) -> tuple[Any, ...] | None:
        """The statement's row, its columns in the statement's order; None when it has none.

        Raises:
            psycopg.Error: as psycopg raises it; `Database.connection` makes an error of ours of it.
        """
        cursor = connection.connection.cursor()
        try:
            with statements.observed(self._text):
                cursor.execute(self._text, parameters)
            row: tuple[Any, ...] | None = cursor.fetchone()
        except psycopg.OperationalError:
            if _is_lost(connection):
                # The pool's others went with it, most likely: after a restart one request fails, not ten.
                connection.invalidate()
                connection.engine.dispose()
            raise
        finally:
            cursor.close()
        return row

    @cached_property
    def _text(self) -> str:
        dialect = URL.create("postgresql+psycopg").get_dialect()
        return str(self._statement.compile(dialect=dialect()))


def _is_lost(connection: Connection) -> bool:
    driver: psycopg.Connection[Any] | None = connection.connection.driver_connection
    return driver is not None and driver.closed
