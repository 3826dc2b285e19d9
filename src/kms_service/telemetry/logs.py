"""Structured logs on standard output: JSON lines, or readable text on a terminal.

An event has a static name, and its fields are identifiers, never objects. Loggers of libraries whose lines
can hold secrets (botocore prints the plaintext DEK at DEBUG) stay at WARNING, whatever the level.
"""

import logging
import sys
from typing import Any, Literal, TextIO

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from kms_service import context
from kms_service.telemetry import tracing
from kms_service.telemetry.printable import printable

LogFormat = Literal["auto", "json", "text"]
_SHUT = (
    "boto3",
    "botocore",
    "urllib3",
    "sqlalchemy",
    "psycopg",
    "alembic",
    "asyncio",
    "eth_account",
)
_EVIDENCE = "evidence"


def configure(level: str, log_format: LogFormat, stream: TextIO = sys.stdout) -> None:
    """Send all log lines of a serving process to `stream` in one format; evidence is sent at any level."""
    _configure(level, log_format, stream, evidence=_mark)


def configure_for_command(level: str, log_format: LogFormat) -> None:
    """Send a command's log lines to standard error, since it prints its results on standard output.

    Its evidence is left out: a terminal does not keep it, but AUDIT_HEADS_URL does.
    """
    _configure(level, log_format, sys.stderr, evidence=_leave_out)


def as_json(log_format: LogFormat, stream: TextIO) -> bool:
    """Whether a log with this setting on this stream is JSON lines."""
    return log_format == "json" or (log_format == "auto" and not stream.isatty())


def get_logger() -> FilteringBoundLogger:
    """The logger of this service: `log.info("event_name", field=identifier)`."""
    logger: FilteringBoundLogger = structlog.get_logger()
    return logger


def get_evidence_logger() -> FilteringBoundLogger:
    """The logger for what must reach the log stream at any LOG_LEVEL, such as heads of audit chains."""
    logger: FilteringBoundLogger = structlog.wrap_logger(
        None, wrapper_class=structlog.make_filtering_bound_logger(logging.NOTSET), evidence=True
    )
    return logger


def _configure(level: str, log_format: LogFormat, stream: TextIO, *, evidence: Processor) -> None:
    json_lines = as_json(log_format, stream)
    _configure_structlog(level, stream, evidence, as_json=json_lines)
    _route_foreign_loggers(level, stream, as_json=json_lines)


def _configure_structlog(level: str, stream: TextIO, evidence: Processor, *, as_json: bool) -> None:
    structlog.configure(
        processors=[evidence, *_shared_processors(), *_renderers(as_json=as_json, colors=stream.isatty())],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )


def _route_foreign_loggers(level: str, stream: TextIO, *, as_json: bool) -> None:
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_shared_processors(),
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_renderers(as_json=as_json, colors=stream.isatty()),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=level, force=True)
    for name in _SHUT:
        logging.getLogger(name).setLevel(logging.WARNING)


def _mark(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    event.pop(_EVIDENCE, None)
    return event


def _leave_out(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    if _EVIDENCE in event:
        raise structlog.DropEvent
    return event


def _shared_processors() -> list[Any]:
    return [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="timestamp"),
        _add_request,
    ]


def _renderers(*, as_json: bool, colors: bool) -> list[Any]:
    if as_json:
        return [_where_it_failed, structlog.processors.JSONRenderer()]
    return [_where_it_failed, _make_printable, structlog.dev.ConsoleRenderer(colors=colors, pad_event_to=24)]


def _add_request(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    if (request_id := context.request_id.get()) is not None:
        event.setdefault("requestId", request_id)
    if (trace := tracing.trace_id()) is not None:
        event.setdefault("traceId", trace)
    return event


def _make_printable(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    # Last before rendering, whose colours are the only escape sequences that may reach a terminal.
    return {printable(key): printable(str(value)) for key, value in event.items()}


def _where_it_failed(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    # Only the type and the place: an exception's text and its frames' variables may hold a secret.
    info = event.pop("exc_info", None)
    error = sys.exc_info()[1] if info is True else info[1] if isinstance(info, tuple) else info
    if isinstance(error, BaseException):
        event["errorType"] = type(error).__qualname__
        event["errorAt"] = _frames(error)
    return event


def _frames(error: BaseException) -> list[str]:
    frames = []
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        frames.append(f"{trace.tb_frame.f_globals.get('__name__', '?')}:{code.co_name}:{trace.tb_lineno}")
        trace = trace.tb_next
    return frames[-12:]
