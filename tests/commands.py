"""Runs `kms-service` in this process, as an operator runs it, and returns what it left behind."""

import contextvars
import json
import re
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import structlog

from kms_service.cli import main
from kms_service.settings import Settings

_LOGGED = re.compile(r"\d{4}-\d\d-\d\d \d\d:")


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def facts(self) -> Any:
        # The test's own services log to the same stream, as text.
        return json.loads("\n".join(line for line in self.out.splitlines() if not _LOGGED.match(line)))


Run = Callable[..., Done]


def runner(settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """A function that runs `kms-service` with its arguments, and with these settings in the environment."""
    for name in ("aws_region", "aws_access_key_id", "aws_endpoint_url_kms"):
        monkeypatch.setenv(name.upper(), getattr(settings, name))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "c4n4ry-aws-secret")
    monkeypatch.setenv("DATABASE_URL", settings.database_url.get_secret_value())
    monkeypatch.setenv("LOG_FORMAT", "json")
    monkeypatch.setenv("PORT", "0")  # 3001 may be another's on this machine
    return in_process(monkeypatch, capsys)


def in_process(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """A function that runs `kms-service` with its arguments, in the current environment."""

    def run(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["kms-service", *arguments])
        code: object = 0
        handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            contextvars.copy_context().run(main)
        except SystemExit as stop:
            code = stop.code or 0
        finally:
            structlog.reset_defaults()
            for number, handler in handlers.items():
                signal.signal(number, handler)
        printed = capsys.readouterr()
        assert isinstance(code, int)
        assert "Traceback" not in printed.err
        assert "c4n4ry" not in printed.out + printed.err
        return Done(code, printed.out, printed.err)

    return run
