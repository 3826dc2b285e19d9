"""The parent of several worker processes: holds the port, starts them, and replaces one that dies.

It imports nothing of what the workers serve with: that would cost it memory, and every start time.
"""

import os
from pathlib import Path
from socket import socket

import click
import uvicorn
from uvicorn.supervisors import Multiprocess

_FAILURE = "start-failed.txt"


class Supervisor(Multiprocess):
    """uvicorn's, but it gives up when a worker cannot begin to serve and none does: all would fail alike.

    While a worker serves, others that fail are replaced for as long as it takes: what they miss, such as the
    database, may come back.

    Attributes:
        exit_code: what the process should end with: that of the worker which could not start, or 0.
    """

    def __init__(self, config: uvicorn.Config, listening: socket, folder: Path) -> None:
        super().__init__(config, [listening])
        self.exit_code = 0
        self._failure = folder / _FAILURE

    def keep_subprocess_alive(self) -> None:
        """Replace workers that died or hang, unless there is no use in it."""
        for worker in self.processes:
            # The worker's own end. While this process holds it too, a worker that dies amid a health check is
            # waited for as long as one that hangs.
            worker.child_conn.close()
        if self._failure.exists():
            code, _, reason = self._failure.read_text().partition("\n")
            self._failure.unlink()
            click.echo(reason, err=True)
            if not any(worker.process.is_alive() and worker.is_ready() for worker in self.processes):
                self.exit_code = int(code)
                self.should_exit.set()
                return
        super().keep_subprocess_alive()


def leave_reason(folder: Path, exit_code: int, reason: str) -> None:
    """Have the supervisor say why a worker could not start; workers that fail alike are heard once."""
    unfinished = folder / f"{_FAILURE}.{os.getpid()}"
    unfinished.write_text(f"{exit_code}\n{reason}")
    unfinished.replace(folder / _FAILURE)
