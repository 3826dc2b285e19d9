"""The order of a stop by SIGTERM: report not ready, keep serving for a moment, finish, exit.

The moment is for load balancers, which keep sending until a readiness probe has failed.
"""

import asyncio
import signal
import threading
from types import FrameType

from kms_service.service.readiness import Readiness
from kms_service.telemetry.logs import get_logger

log = get_logger()


def tell_not_ready_first(readiness: Readiness, seconds: float) -> None:
    """On SIGTERM, report not ready, and let the server stop `seconds` later; a second one stops it at once.

    Call this on the server's event loop, after the server has installed its own handler. If there is none, as
    in a thread or under another server, this changes nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    stop = signal.getsignal(signal.SIGTERM)
    if not callable(stop):
        return
    loop = asyncio.get_running_loop()

    def drain(number: int, frame: FrameType | None) -> None:
        if readiness.draining:
            stop(number, frame)
            return
        readiness.drain()
        log.info("draining", seconds=seconds)
        loop.call_later(seconds, stop, number, frame)

    def on_signal(number: int, frame: FrameType | None) -> None:
        # Nothing else here: the interrupted code may hold the log's lock, so that logging now would deadlock.
        loop.call_soon_threadsafe(drain, number, frame)

    signal.signal(signal.SIGTERM, on_signal)
