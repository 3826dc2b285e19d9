"""Makes this process obey what operators set for all replicas, a second or so after they set it."""

from collections.abc import Callable, Sequence
from contextlib import suppress

from kms_service.errors import DatabaseUnavailable
from kms_service.store.switches.shared_state import SharedState, SharedStateStore

POLL_SECONDS = 1.0


class SharedStatePoll:
    """Reads the shared state with one statement and hands it to everybody who obeys a part of it."""

    def __init__(
        self,
        store: SharedStateStore,
        obeying: Sequence[Callable[[SharedState], None]],
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._clock = clock
        self._last: tuple[SharedState, float] | None = None
        self._obeying = tuple(obeying)

    async def poll(self) -> None:
        """Read and obey; while the database does not answer, what was read last stays in force."""
        with suppress(DatabaseUnavailable):
            await self._read()

    async def recent(self, seconds: float) -> SharedState:
        """The state as it was at most `seconds` ago; the database is asked when the last look is older.

        Raises:
            DatabaseUnavailable: the last look is older, and PostgreSQL does not answer.
        """
        if self._last is not None and self._clock() - self._last[1] <= seconds:
            return self._last[0]
        return await self._read()

    async def _read(self) -> SharedState:
        asked = self._clock()
        state = await self._store.read()
        for obey in self._obeying:
            obey(state)
        self._last = (state, asked)
        return state
