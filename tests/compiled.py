"""Has all engines of a test process share what SQLAlchemy has compiled.

A process has one engine, and compiles each statement once. The tests make hundreds of engines, and each would
compile its statements anew, in a sixth of the time that a service takes to start.
"""

from functools import cache
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg, PGDialectAsync_psycopg

_dialect = cache(PGDialectAsync_psycopg)
_driver = cache(PGDialectAsync_psycopg.import_dbapi)
_compiled: dict[Any, Any] = {}


def compile_once(patch: pytest.MonkeyPatch) -> None:
    """Compile each statement once from now on, until the patch is undone."""
    patch.setattr(PGDialect_psycopg, "get_async_dialect_cls", lambda _: _Shared)


class _Shared(PGDialectAsync_psycopg):
    """Stands for the one dialect with these options: what is compiled belongs to its dialect."""

    def __new__(cls, **options: Any) -> Any:
        return _dialect(**options)

    @classmethod
    def import_dbapi(cls) -> Any:
        return _driver()

    @classmethod
    def engine_created(cls, engine: Engine) -> None:
        engine.update_execution_options(compiled_cache=_compiled)
