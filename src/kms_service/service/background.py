"""Work that repeats beside the requests, each in a thread of its own."""

import random
import threading
from collections.abc import Callable

from kms_service.telemetry.logs import get_logger

log = get_logger()


class Repeating:
    """Runs `work` every `seconds`, give or take a tenth so that replicas do not march in step."""

    def __init__(
        self, name: str, seconds: float, work: Callable[[], None], *, once_more: bool = False
    ) -> None:
        self._name = name
        self._seconds = seconds
        self._work = work
        self._once_more = once_more
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin; the first run comes after the first interval."""
        self._thread.start()

    def stop(self) -> None:
        """Ask it to end; a run under way is not waited for. `once_more` runs it a last time, if it began."""
        self._stopped.set()
        if self._once_more and self._thread.ident is not None:
            self._run_once()

    def _run(self) -> None:
        while not self._stopped.wait(self._seconds * random.uniform(0.9, 1.1)):  # noqa: S311 # jitter only
            self._run_once()

    def _run_once(self) -> None:
        try:
            self._work()
        except Exception:  # the thread's boundary: it has to live as long as the process
            log.exception("background_failed", work=self._name)
