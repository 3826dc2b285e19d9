"""Log lines: the contract's fields, static events, and nothing of an exception's text at any level."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from kms_service import context
from kms_service.telemetry import logs

FOREIGN = (
    "boto3.resources", "botocore", "botocore.endpoint", "botocore.parsers", "botocore.auth",
    "urllib3.connectionpool", "sqlalchemy.engine.Engine", "psycopg.pool", "alembic.runtime.migration",
    "eth_account", "asyncio",
)  # fmt: skip


@pytest.fixture
def _restore_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


pytestmark = pytest.mark.usefixtures("_restore_logging")


def _configure(level: str = "INFO", log_format: logs.LogFormat = "json") -> io.StringIO:
    stream = io.StringIO()
    logs.configure(level, log_format, stream)
    return stream


def _lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


class Loud(Exception):
    """Its text is a secret, as eth-account's and pydantic's can be."""


def _fails(secret: str) -> None:
    raise Loud(secret)


def test_a_line_has_the_contracts_fields() -> None:
    stream = _configure()
    context.request_id.set("request-1")
    logs.get_logger().info(
        "request", actor="payments", method="GET", route="/wallets", status=200, durationMs=1.5
    )
    (line,) = _lines(stream)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "level": "info",
        "event": "request",
        "requestId": "request-1",
        "actor": "payments",
        "method": "GET",
        "route": "/wallets",
        "status": 200,
        "durationMs": 1.5,
    }


def test_without_a_request_there_is_no_request_id() -> None:
    stream = _configure()
    logs.get_logger().info("started")
    assert _lines(stream)[0].keys() == {"timestamp", "level", "event"}


@pytest.mark.parametrize("log_format", ["json", "text"])
@pytest.mark.parametrize("logger", ["ours", "uvicorn.error", "somebody"])
def test_an_exception_is_logged_by_type_and_place(log_format: logs.LogFormat, logger: str) -> None:
    stream = _configure("DEBUG", log_format)
    log = logs.get_logger() if logger == "ours" else logging.getLogger(logger)
    try:
        try:
            _fails("canary")
        except Loud as error:
            raise ValueError("canary as well") from error
    except ValueError:
        log.exception("it_failed")
    text = stream.getvalue()
    assert "it_failed" in text
    assert "ValueError" in text
    assert "test_an_exception_is_logged_by_type_and_place" in text
    assert "canary" not in text
    assert "Traceback" not in text


@pytest.mark.invariant(8)
@pytest.mark.parametrize("level", ["DEBUG", "INFO", "WARNING", "ERROR"])
def test_libraries_that_print_secrets_stay_silent(level: str) -> None:
    stream = _configure(level)
    for name in FOREIGN:
        logging.getLogger(name).debug("Plaintext: canary")
        logging.getLogger(name).info("Plaintext: canary")
    assert stream.getvalue() == ""


def test_a_librarys_warning_is_logged_in_our_form() -> None:
    stream = _configure()
    logging.getLogger("uvicorn.error").warning("slow %s", "client")
    assert _lines(stream)[0].items() >= {"level": "warning", "event": "slow client"}.items()


def test_lines_below_the_level_are_not_written() -> None:
    stream = _configure("WARNING")
    logs.get_logger().info("quiet")
    logs.get_logger().warning("loud")
    assert [line["event"] for line in _lines(stream)] == ["loud"]


@pytest.mark.parametrize("level", ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"])
@pytest.mark.parametrize("log_format", ["json", "text"])
def test_evidence_is_written_at_every_level(level: str, log_format: logs.LogFormat) -> None:
    stream = _configure(level, log_format)
    logs.get_evidence_logger().info("audit_head", seq=7)
    assert "audit_head" in stream.getvalue()
    assert "evidence" not in stream.getvalue()


def test_a_command_prints_no_evidence(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure_for_command("WARNING", "json")
    logs.get_evidence_logger().info("audit_head", seq=7)
    logs.get_logger().warning("loud")
    printed = capsys.readouterr()
    assert printed.out == ""
    assert [json.loads(line)["event"] for line in printed.err.splitlines()] == ["loud"]


def test_logs_are_text_on_a_terminal_and_json_elsewhere() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    logs.configure("INFO", "auto", terminal)
    logs.get_logger().info("started", port=3001)
    assert not terminal.getvalue().startswith("{")
    assert "3001" in terminal.getvalue()
    stream = _configure(log_format="auto")
    logs.get_logger().info("started")
    assert _lines(stream)[0]["event"] == "started"


def test_a_line_break_in_a_field_makes_no_second_line() -> None:
    stream = _configure()
    logs.get_logger().info("named", name='alice\n{"event": "forged"}')
    assert len(_lines(stream)) == 1
