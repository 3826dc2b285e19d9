"""The order of a stop by SIGTERM: tell not ready, go on serving for a moment, finish, end.

The moment is for load balancers, which go on sending until a readiness probe has failed.
"""

import asyncio
import signal
import threading
from types import FrameType

from kms_service.service.readiness import Readiness
from kms_service.telemetry.logs import get_logger

log = get_logger()


def tell_not_ready_first(readiness: Readiness, seconds: float) -> None:
    """On SIGTERM answer not ready at once, and let the server stop `seconds` later; at once on a second one.

    To be called on the server's event loop once the server has its own handler in place. Where there is none,
    as in a thread or under another server, it changes nothing.
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
        # Nothing else: what the signal interrupted may hold the lock of the log, and would never let it go.
        loop.call_soon_threadsafe(drain, number, frame)

    signal.signal(signal.SIGTERM, on_signal)
