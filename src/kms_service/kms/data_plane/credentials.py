"""Keeps AWS credentials fresh, so that no request waits for them.

The chain of providers may hang (STS, a metadata service, a program), so it is walked in its own thread, well
before the credentials expire. While they are valid, nobody waits. When none are valid, KMS calls fail at
once, and the chain is walked again every few seconds until it returns some.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress

from kms_service import context
from kms_service.kms.data_plane.provider_chain import Loaded, NoCredentials
from kms_service.kms.data_plane.signer import AccessKeys
from kms_service.telemetry.logs import get_logger

AHEAD_SECONDS = 900.0
LOOK_SECONDS = 15.0
AGAIN_SECONDS = 60.0
WALK_SECONDS = 5.0
# After failures, the pause between walks grows from RETRY_SECONDS up to this.
LONGEST_PAUSE_SECONDS = 5.0
# A thread that hangs cannot be ended, so no more than this are started.
MOST_WALKING = 8
RETRY_SECONDS = 1.0
HANGS = "RefreshTimedOut"

log = get_logger()


class Credentials:
    """The credentials of one process. They belong to the event loop that first asks for them.

    Args:
        walk: gets new credentials; blocks, and raises NoCredentials.
    """

    def __init__(self, walk: Callable[[], Loaded]) -> None:
        self._walk = walk
        self._loaded: Loaded | None = None
        self._walking: asyncio.Future[None] | None = None
        self._threads = 0
        self._failures = 0
        self._failure: str | None = None
        self._walked_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def problem(self) -> str | None:
        """Why there are no valid credentials now, in one word; None if there are, or nobody asked yet."""
        return None if self._valid() is not None else self._failure

    async def current(self) -> AccessKeys:
        """Valid credentials; waits only for the first walk of the chain.

        Raises:
            NoCredentials: there are none now.
        """
        if self._timer is None:
            self._look()
        loaded = self._valid()
        if loaded is None and self._failure is None and self._walking is not None:
            # Shielded: others wait for the same walk.
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(self._walking), context.time_left(WALK_SECONDS))
            loaded = self._valid()
        if loaded is None:
            raise NoCredentials(self._failure or HANGS)
        return loaded.keys

    def distrust(self) -> None:
        """Get new credentials soon: KMS refused a signature, so these may have been replaced."""
        if self._loaded is not None and self._since_walk() >= LONGEST_PAUSE_SECONDS:
            self._begin()

    def close(self) -> None:
        """Stop refreshing; a walk under way ends by itself, and its result is dropped."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()

    def _valid(self) -> Loaded | None:
        loaded = self._loaded
        return None if loaded is None or loaded.expire_within(0) else loaded

    def _look(self) -> None:
        if self._closed:
            return
        if self._walking is None and self._due():
            self._begin()
        pause = LOOK_SECONDS if self._failure is None else RETRY_SECONDS
        self._timer = asyncio.get_running_loop().call_later(pause, self._look)

    def _due(self) -> bool:
        loaded = self._loaded
        if self._failure is not None:
            return self._since_walk() >= min(RETRY_SECONDS * self._failures, LONGEST_PAUSE_SECONDS)
        if loaded is None or loaded.expire_within(0):
            return True
        # Some providers' credentials are valid for less than fifteen minutes: do not ask them every time.
        return loaded.expire_within(AHEAD_SECONDS) and (
            self._since_walk() >= AGAIN_SECONDS or loaded.expire_within(AGAIN_SECONDS)
        )

    def _since_walk(self) -> float:
        return asyncio.get_running_loop().time() - self._walked_at

    def _begin(self) -> None:
        if self._walking is not None or self._threads >= MOST_WALKING:
            return
        loop = asyncio.get_running_loop()
        self._walked_at = loop.time()
        self._walking = walking = loop.create_future()
        self._threads += 1
        late = loop.call_later(WALK_SECONDS, self._end, walking, None, HANGS)

        def tell(loaded: Loaded | None, failure: str) -> None:
            late.cancel()
            self._threads -= 1
            self._end(walking, loaded, failure)

        def run() -> None:
            loaded, failure = None, ""
            try:
                loaded = self._walk()
            except NoCredentials as error:
                failure = error.name
            except Exception as error:  # noqa: BLE001 # whatever it is, it must be reported
                failure = type(error).__name__
            with suppress(RuntimeError):  # the loop is closed: nobody is waiting
                loop.call_soon_threadsafe(tell, loaded, failure)

        # A daemon: a thread that hangs must not keep the process from ending.
        threading.Thread(target=run, name="aws credentials", daemon=True).start()

    def _end(self, walking: asyncio.Future[None], loaded: Loaded | None, failure: str) -> None:
        if loaded is not None:
            # Even from a walk that was given up: late credentials are good too.
            self._loaded, self._failure, self._failures = loaded, None, 0
        elif walking is self._walking:
            self._failure, self._failures = failure, self._failures + 1
            log.warning("aws_credentials_failed", reason=failure, valid=self._valid() is not None)
            self._hurry()
        if walking is self._walking:
            self._walking = None
        if not walking.done():
            walking.set_result(None)

    def _hurry(self) -> None:
        if self._timer is not None and not self._closed:
            self._timer.cancel()
            self._timer = asyncio.get_running_loop().call_later(RETRY_SECONDS, self._look)


def fixed_walk(keys: AccessKeys) -> Callable[[], Loaded]:
    """A walk that always returns these keys, for credentials from the settings."""
    return lambda: Loaded(keys, lambda _seconds: False)
