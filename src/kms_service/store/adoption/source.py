"""Reads a table of the ported service in pages, in a read-only session, so that nothing there can change."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg import AsyncConnection, sql

from kms_service.errors import KmsServiceError

PAGE_ROWS = 500
CONNECT_SECONDS = 5
STATEMENT_SECONDS = 60
_REQUIRED = ("user_id", "wallet_address", "encrypted_seed", "encrypted_dek")
_COLUMNS = (*_REQUIRED, "compressed_public_key", "kms_key_id", "created_at")


class SourceUnreadable(KmsServiceError):
    """The other service's table cannot be read; the message says why, and holds nothing of its URL."""

    code = "source_unreadable"


@dataclass(frozen=True, slots=True)
class SourceRow:
    """A wallet as the other service stores it; `created_at` is UTC. None of it is to be trusted."""

    user_id: str
    wallet_address: str
    encrypted_seed: str
    encrypted_dek: str
    compressed_public_key: str | None
    kms_key_id: str | None
    created_at: datetime | None


class SourceTable:
    """One table, read over one connection. Every method raises SourceUnreadable when PostgreSQL refuses."""

    def __init__(
        self, connection: AsyncConnection[Any], name: sql.Identifier, columns: Mapping[str, str]
    ) -> None:
        self._connection = connection
        self._name = name
        self._types = columns

    async def count(self, after: str | None) -> int:
        """How many rows there are after user `after`."""
        statement = sql.SQL("SELECT count(*) FROM {}{}").format(self._name, self._after_clause(after))
        rows = await _rows(self._connection, statement, {"after": after})
        return int(rows[0][0])

    async def page(self, after: str | None) -> Sequence[SourceRow]:
        """Up to 500 rows after user `after`, in order of the user's id; every page costs the same."""
        statement = sql.SQL("SELECT {} FROM {}{} ORDER BY user_id LIMIT {}").format(
            sql.SQL(", ").join(self._column(name) for name in _COLUMNS),
            self._name,
            self._after_clause(after),
            sql.Literal(PAGE_ROWS),
        )
        rows = await _rows(self._connection, statement, {"after": after})
        return [SourceRow(**dict(zip(_COLUMNS, row, strict=True))) for row in rows]

    def _after_clause(self, after: str | None) -> sql.Composable:
        if after is None:
            return sql.SQL("")
        # Compared in the column's own type, so that the primary key's index is used.
        return sql.SQL(" WHERE user_id > CAST(%(after)s AS {})").format(sql.SQL(self._types["user_id"]))

    def _column(self, name: str) -> sql.Composable:
        if name not in self._types:
            return sql.SQL("NULL")
        kind = "timestamptz" if name == "created_at" else "text"
        return sql.SQL("CAST({} AS {})").format(sql.Identifier(name), sql.SQL(kind))


@asynccontextmanager
async def source_table(url: str, schema: str, table: str) -> AsyncIterator[SourceTable]:
    """The table, for as long as the block lasts.

    Args:
        url: the other service's database; a secret that the caller owns.
        schema: the table's schema.
        table: the table's name.

    Raises:
        SourceUnreadable: the database cannot be reached, has no such table, or the table lacks a column.
    """
    # Times without a zone are UTC there, so this session's zone is UTC too.
    options = f"-c default_transaction_read_only=on -c timezone=UTC -c statement_timeout={STATEMENT_SECONDS}s"
    try:
        connection = await AsyncConnection.connect(
            url,
            autocommit=True,
            connect_timeout=CONNECT_SECONDS,
            options=options,
            application_name="kms-service adopt",
        )
    except psycopg.Error as error:
        raise SourceUnreadable(
            f"the other service's database cannot be reached: {type(error).__name__}"
        ) from None
    try:
        yield SourceTable(
            connection, sql.Identifier(schema, table), await _columns(connection, schema, table)
        )
    finally:
        await connection.close()


async def _columns(connection: AsyncConnection[Any], schema: str, table: str) -> dict[str, str]:
    statement = sql.SQL(
        "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute "
        "JOIN pg_class ON pg_class.oid = attrelid JOIN pg_namespace ON pg_namespace.oid = relnamespace "
        "WHERE nspname = %(schema)s AND relname = %(table)s AND attnum > 0 AND NOT attisdropped"
    )
    found = dict(await _rows(connection, statement, {"schema": schema, "table": table}))
    if not found:
        raise SourceUnreadable(f"there is no table {schema}.{table}, or it may not be seen")
    if missing := [name for name in _REQUIRED if name not in found]:
        raise SourceUnreadable(f"{schema}.{table} has no column {', '.join(missing)}")
    return found


async def _rows(
    connection: AsyncConnection[Any], statement: sql.SQL | sql.Composed, parameters: Mapping[str, Any]
) -> list[tuple[Any, ...]]:
    try:
        cursor = await connection.execute(statement, parameters)
        return await cursor.fetchall()
    except psycopg.Error as error:
        # from None: the error quotes the statement's parameters, which are rows of wallets.
        raise SourceUnreadable(f"the other service's table cannot be read: {type(error).__name__}") from None
