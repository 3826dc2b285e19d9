"""Every statement of an engine, timed and traced where SQLAlchemy hands it to the driver.

A span holds the statement's text, which has placeholders for the values, and never the values.
"""

import time
from typing import Any

from sqlalchemy import Connection, Engine, ExceptionContext, event

from kms_service.telemetry import metrics, tracing

_RUNNING = "kms_service_statement"


def observe(engine: Engine) -> None:
    """Time and trace the engine's statements from now on."""
    event.listen(engine, "before_cursor_execute", _begin)
    event.listen(engine, "after_cursor_execute", _end)
    event.listen(engine, "handle_error", _fail)


def _begin(connection: Connection, _cursor: Any, statement: str, *_: Any) -> None:
    connection.info[_RUNNING] = time.perf_counter(), tracing.begin_statement(statement)


def _end(connection: Connection, *_: Any) -> None:
    started, span = connection.info.pop(_RUNNING)
    metrics.database_duration.observe(time.perf_counter() - started)
    if span is not None:
        span.end()


def _fail(context: ExceptionContext) -> None:
    connection = context.connection
    if connection is None or _RUNNING not in connection.info:
        return  # it failed before any statement
    started, span = connection.info.pop(_RUNNING)
    metrics.database_duration.observe(time.perf_counter() - started)
    if span is not None:
        tracing.failed(span, type(context.original_exception).__name__)
        span.end()
