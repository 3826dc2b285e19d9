"""Runs commands for all tests in the same way."""

import pytest

from commands import Run, runner
from kms_service.settings import Settings


@pytest.fixture
def run(settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `kms-service` with these arguments."""
    return runner(settings, monkeypatch, capsys)
