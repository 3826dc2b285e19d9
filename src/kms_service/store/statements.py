"""Every statement of an engine, timed where SQLAlchemy hands it to the driver."""

import time
from typing import Any

from sqlalchemy import Connection, Engine, event

from kms_service.telemetry import metrics

_STARTED = "kms_service_statement_started"


def observe(engine: Engine) -> None:
    """Time the engine's statements from now on; failed ones are counted where their error is mapped."""
    event.listen(engine, "before_cursor_execute", _begin)
    event.listen(engine, "after_cursor_execute", _end)


def _begin(connection: Connection, *_: Any) -> None:
    connection.info[_STARTED] = time.perf_counter()


def _end(connection: Connection, *_: Any) -> None:
    metrics.database_duration.observe(time.perf_counter() - connection.info[_STARTED])
