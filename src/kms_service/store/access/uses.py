"""The `token_uses` table: how often a token was used in each of the last seconds, over all replicas.

The minute slides in steps of a second: 61 counters cover any 60 seconds, so a limit is never exceeded, and a
use counts against it for at most a minute and a second.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, bindparam, cast, column, func, literal, select
from sqlalchemy.dialects.postgresql import ARRAY, INTEGER, array, insert
from sqlalchemy.sql.dml import ReturningInsert

from kms_service.store.postgres.database import Database
from kms_service.store.postgres.tables import token_uses

SECONDS = 61

_NOW = cast(func.floor(func.extract("epoch", func.statement_timestamp())), BigInteger)


class TokenUseStore:
    """Statements on `token_uses`. Every method raises DatabaseUnavailable when PostgreSQL does not answer."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def take(self, token_name: str, use: str, limit: int) -> int | None:
        """Count one use, unless that would exceed `limit` uses a minute; exact under any concurrency.

        Returns:
            None if it was counted; else the seconds until one would be.
        """
        uses = {"token_name": token_name, "kind": use}
        async with self._database.connection() as connection:
            if (await connection.execute(_TAKE, {**uses, "limit": limit})).one_or_none() is not None:
                return None
            row = (await connection.execute(_LOOK, uses)).one()
        return _seconds_to_wait(row.counts, max(0, row.now - row.second), limit)


def _take() -> ReturningInsert[Any]:
    first = insert(token_uses).values(
        token_name=bindparam("token_name"), kind=bindparam("kind"), second=_NOW, counts=array([1])
    )
    counts = _age(first.excluded.second)
    used = select(func.sum(column("used"))).select_from(func.unnest(counts).alias("used")).scalar_subquery()
    # The row is locked and read as its last writer left it, so the sum includes every use.
    return first.on_conflict_do_update(
        index_elements=[token_uses.c.token_name, token_uses.c.kind],
        set_={
            "second": func.greatest(token_uses.c.second, first.excluded.second),
            "counts": func.array_cat(array([counts[1] + 1]), counts[2:SECONDS]),
        },
        where=func.coalesce(used, 0) < bindparam("limit"),
    ).returning(literal(1))


def _age(now: ColumnElement[int]) -> ColumnElement[Sequence[int]]:
    """The counters as of second `now`: a zero for each second that has passed, then older ones."""
    passed = cast(func.least(func.greatest(now - token_uses.c.second, 0), SECONDS), INTEGER)
    return func.array_cat(
        func.array_fill(0, array([passed])), token_uses.c.counts[1 : SECONDS - passed], type_=ARRAY(INTEGER)
    )


def _seconds_to_wait(counts: Sequence[int], passed: int, limit: int) -> int:
    """Seconds until fewer than `limit` uses are within the minute; `counts[0]` is `passed` seconds old."""
    used = 0
    for age, count in enumerate(counts, passed):
        used += count
        if used >= limit:
            return max(1, SECONDS - age)
    return 1


_TAKE = _take()
_LOOK = select(token_uses.c.counts, token_uses.c.second, _NOW.label("now")).where(
    token_uses.c.token_name == bindparam("token_name"), token_uses.c.kind == bindparam("kind")
)
