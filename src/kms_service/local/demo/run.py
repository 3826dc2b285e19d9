"""Runs the demo from start to end, in a session of its own that it may break."""

import contextlib
import os
import tempfile
import time
from pathlib import Path

from kms_service.local.demo import commands
from kms_service.local.session import Say, Stopped, serving, stop_on_signals


def run(say: Say, *, stay: bool) -> int:
    """Show everything; if `stay`, then keep serving until a signal comes. Returns the exit code.

    Raises:
        LocalError: something could not be started, or did not do what the story says.
        And what `preparation.prepare` raises.
    """
    os.environ.update(PORT="0", LOG_LEVEL="ERROR")  # beside any session, and without log lines
    commands.load()
    with (
        contextlib.suppress(Stopped),
        stop_on_signals(),
        tempfile.TemporaryDirectory(prefix="kms-service-demo-") as folder,
        serving(Path(folder) / "session", say) as session,
    ):
        from kms_service.local.demo.story import tell  # noqa: PLC0415 - loads while the servers start

        started = time.monotonic()
        tell(session, say)
        say(f"\nThat took {time.monotonic() - started:.0f} s.")
        if stay:
            say(
                f"Now look around: the operator page is {session.url}/console, the token is in\n"
                f"{session.folder / 'token'}. Ctrl-C stops everything and removes it."
            )
            return session.service.wait()
    return 0
