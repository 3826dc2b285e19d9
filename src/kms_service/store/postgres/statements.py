"""Times and traces every statement, where it is passed to the driver.

A span holds the statement's text, which has placeholders, and never the values.
"""

import time
from typing import Any

from sqlalchemy import Connection, Engine, ExceptionContext, event

from kms_service.telemetry import metrics, tracing

_RUNNING = "kms_service_statement"


class Observed:
    """Times and traces the one statement that is run in its `with`."""

    __slots__ = ("_running",)

    def __init__(self, statement: str) -> None:
        self._running = time.perf_counter(), tracing.begin_statement(statement)

    def __enter__(self) -> None:
        """Do nothing: the statement was begun when this was made."""

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Note that the statement has ended, and whether it failed."""
        _finish(self._running, failure=None if kind is None else kind.__name__)


def observe(engine: Engine) -> None:
    """Time and trace the statements that SQLAlchemy runs on the engine from now on."""
    event.listen(engine, "before_cursor_execute", _begin)
    event.listen(engine, "after_cursor_execute", _end)
    event.listen(engine, "handle_error", _fail)


def _begin(connection: Connection, _cursor: Any, statement: str, *_: Any) -> None:
    connection.info[_RUNNING] = time.perf_counter(), tracing.begin_statement(statement)


def _end(connection: Connection, *_: Any) -> None:
    _finish(connection.info.pop(_RUNNING))


def _fail(context: ExceptionContext) -> None:
    connection = context.connection
    if connection is None or _RUNNING not in connection.info:
        return  # it failed before the statement began
    _finish(connection.info.pop(_RUNNING), failure=type(context.original_exception).__name__)


def _finish(running: tuple[float, Any], failure: str | None = None) -> None:
    started, span = running
    metrics.database_duration.observe(time.perf_counter() - started)
    if span is None:
        return
    if failure is not None:
        tracing.mark_failed(span, failure)
    span.end()
