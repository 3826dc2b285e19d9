"""SIGTERM stops the server, whatever it interrupts."""

import subprocess
import sys

# The signal comes while a line is being written, with the log's lock held.
INTERRUPTED = """
import asyncio, signal, sys
from kms_service.api.asgi.shutdown import tell_not_ready_first
from kms_service.bootstrap import build
from kms_service.settings import load_settings
from kms_service.telemetry import logs

class Stream:
    interrupted = False
    def write(self, text):
        if not self.interrupted:
            self.interrupted = True
            signal.raise_signal(signal.SIGTERM)
        sys.stdout.write(text)
    def flush(self):
        sys.stdout.flush()
    def isatty(self):
        return False

async def serve():
    stopped = asyncio.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    tell_not_ready_first(build(load_settings(None)).readiness, 0.1)
    logs.get_logger().info("interrupted")
    await stopped.wait()

logs.configure("INFO", "json", Stream())
asyncio.run(serve())
"""


def test_a_signal_during_a_log_line_stops_the_server_too() -> None:
    env = {
        "PYTHONPATH": ":".join(filter(None, sys.path)),
        "AWS_REGION": "eu-central-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
    }
    done = subprocess.run(  # noqa: S603 - this interpreter, the text above
        [sys.executable, "-c", INTERRUPTED], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert ["interrupted" in done.stdout, "draining" in done.stdout] == [True, True]
