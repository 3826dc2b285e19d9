"""One of several worker processes: its supervisor starts it by `python -m` with the socket between them."""

import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from kms_service.cli.process.doors import SupervisedDoor
from kms_service.cli.process.loop import run_on_loop
from kms_service.cli.root import describe, exit_code
from kms_service.errors import KmsServiceError
from kms_service.garbage_collection import start_without_collection
from kms_service.settings import load_settings
from kms_service.telemetry import logs
from kms_service.telemetry.printable import printable_lines


def main() -> None:
    """Serve what the supervisor passes until a signal comes; if that cannot begin, tell the supervisor."""
    door = SupervisedDoor(socket.socket(fileno=int(sys.argv[1])))
    with exit_zero_on_signals():
        run_on_loop(_serve(door))


async def _serve(door: SupervisedDoor) -> None:
    try:
        settings = load_settings()
        logs.configure(settings.log_level, settings.log_format)
        with start_without_collection():
            from kms_service.api.app import serving_app  # noqa: PLC0415 # its import is most of the start
            from kms_service.cli.process import server  # noqa: PLC0415 # as above

            app = await serving_app(settings)
    except KmsServiceError as error:
        door.fail(exit_code(error), printable_lines(f"kms-service: {describe(error)}"))
        sys.exit(exit_code(error))
    await server.serve(app, settings, door)


@contextmanager
def exit_zero_on_signals() -> Iterator[None]:
    """Exit with 0 on a signal: uvicorn raises the one that stopped it again when all is done.

    After the block the process is ending, and signals are ignored: a supervisor may signal a worker that is
    already ending, and Python would then print a traceback from the middle of its own clean-up.
    """
    _handle_signals(_exit)
    try:
        yield
    finally:
        _handle_signals(signal.SIG_IGN)


def _handle_signals(handler: Callable[[int, FrameType | None], None] | signal.Handlers) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handler)


def _exit(_signal: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(0)


if __name__ == "__main__":
    main()
