"""Statements that every request waits for: compiled once, then handed to psycopg as text.

SQLAlchemy writes the statement and keeps the connections; what it does besides at each execution costs as
much again as the statement itself (`benchmarks/`), so these few go past it. psycopg prepares them on the
server after five executions.
"""

from collections import namedtuple
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from psycopg import AsyncConnection, Column
from sqlalchemy import URL, ClauseElement

from kms_service.store.postgres import statements


class PreparedStatement:
    """A statement with named parameters that answers one row, or none."""

    def __init__(self, statement: ClauseElement) -> None:
        self._statement = statement
        self._row: Any = None

    async def row(self, driver: AsyncConnection[Any], parameters: Mapping[str, Any]) -> Any:
        """The statement's row, its columns by name; None when it has none.

        Raises:
            psycopg.Error: as psycopg raises it; `Database.row` makes an error of ours of it.
        """
        cursor = driver.cursor()
        with statements.observed(self._text):
            await cursor.execute(self._text, parameters)
        row = await cursor.fetchone()
        return None if row is None else self._named(row, cursor.description or [])

    def _named(self, row: Sequence[Any], columns: Sequence[Column]) -> Any:
        if self._row is None:
            names = [column.name for column in columns]
            made: Any = namedtuple("Row", names, rename=True)  # type: ignore[misc] # noqa: PYI024 # they are data
            self._row = made
        return self._row(*row)

    @cached_property
    def _text(self) -> str:
        dialect = URL.create("postgresql+psycopg").get_dialect()
        return str(self._statement.compile(dialect=dialect()))
