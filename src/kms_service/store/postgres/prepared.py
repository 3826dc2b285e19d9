"""Statements that every request waits for: compiled once, then passed to psycopg as text.

SQLAlchemy writes these statements and keeps the connections. But what else it does at each execution costs
as much as the statement itself (`benchmarks/`), so these few bypass it. psycopg prepares them on the server
after five executions.
"""

import re
from collections import namedtuple
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from psycopg import AsyncCursor
from sqlalchemy import URL, ClauseElement
from sqlalchemy.sql.expression import ReturnsRows

from kms_service.store.postgres import statements
from kms_service.store.postgres.connection.failures import NotTheStatements


class PreparedStatement:
    """A statement with named parameters that returns one row, or none."""

    def __init__(self, statement: ClauseElement) -> None:
        self._statement = statement
        self._names = _names(statement)
        self._row: Any = None

    async def row(self, cursor: AsyncCursor[Any], parameters: Mapping[str, Any]) -> Any:
        """The statement's row, with its columns by name; None if it returns none.

        Raises:
            psycopg.Error: as psycopg raises it; `Database.row` maps it to an error of ours.
            NotTheStatements: the row is another statement's.
        """
        with statements.Observed(self._text):
            await cursor.execute(self._text, parameters)
        row = await cursor.fetchone()
        return None if row is None else self._name(row, cursor.pgresult)

    def _name(self, row: Sequence[Any], result: Any) -> Any:
        # `cursor.description` would make an object for each column, at a quarter of the statement's cost.
        names = [result.fname(place).decode() for place in range(result.nfields)]
        if names != self._names:
            self._learn(names)
        if self._row is None:
            made: Any = namedtuple("Row", names, rename=True)  # type: ignore[misc] # noqa: PYI024 # they are data
            self._row = made
        return self._row(*row)

    def _learn(self, names: list[str]) -> None:
        # SQLAlchemy numbers columns without a name. The columns of a text are not known before its first row.
        if self._names is not None and (self._row is not None or not _are(names, self._names)):
            raise NotTheStatements(f"a row of other columns was answered: {', '.join(names)}")
        self._names = names

    @cached_property
    def _text(self) -> str:
        dialect = URL.create("postgresql+psycopg").get_dialect()
        return str(self._statement.compile(dialect=dialect()))


def _names(statement: ClauseElement) -> list[str] | None:
    if not isinstance(statement, ReturnsRows):
        return None
    return [str(column.name) for column in statement.exported_columns]


def _are(names: Sequence[str], expected: Sequence[str]) -> bool:
    return len(names) == len(expected) and all(
        name == wanted or re.fullmatch(rf"{re.escape(wanted)}_\d+", name)
        for name, wanted in zip(names, expected, strict=True)
    )
