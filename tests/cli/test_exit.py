"""How a serving process ends when a signal comes, even a late one."""

import subprocess
import sys

import pytest

_AMID = """
import atexit, os, signal, sys
from kms_service.cli.process.worker import exit_zero_on_signals

atexit.register(os.kill, os.getpid(), signal.{signal})
with exit_zero_on_signals():
    {ending}
"""


@pytest.mark.parametrize("signal", ["SIGTERM", "SIGINT"])
@pytest.mark.parametrize(("ending", "status"), [("sys.exit(69)", 69), ("pass", 0)])
def test_a_signal_during_the_exit_changes_nothing(signal: str, ending: str, status: int) -> None:
    """As a supervisor sends one to a worker that goes by itself."""
    done = _run(_AMID.format(signal=signal, ending=ending))
    assert (done.returncode, done.stderr) == (status, "")


@pytest.mark.parametrize("signal", ["SIGTERM", "SIGINT"])
def test_a_signal_ends_the_process_cleanly(signal: str) -> None:
    done = _run(_AMID.format(signal=signal, ending=f"signal.raise_signal(signal.{signal}); sys.exit(1)"))
    assert (done.returncode, done.stderr) == (0, "")


def _run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 # this interpreter, our own program
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )
