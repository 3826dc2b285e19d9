"""Makes this process obey what operators set for all replicas, within about a second."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from kms_service.errors import DatabaseUnavailable
from kms_service.service.switches.seal_in_force import SealInForce
from kms_service.store.switches.shared_state import SharedStateStore

POLL_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class SharedState:
    """What operators have set for all replicas; `draining` holds aliases, `canaries` user ids."""

    draining: frozenset[str]
    sealed: bool
    canaries: frozenset[str]


class SharedStatePoll:
    """Reads the shared state with one statement, and passes it to everything that obeys a part of it."""

    def __init__(
        self,
        store: SharedStateStore,
        seal: SealInForce,
        obeying: Sequence[Callable[[SharedState], None]],
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._seal = seal
        self._clock = clock
        self._last: tuple[SharedState, float] | None = None
        self._obeying = tuple(obeying)

    async def poll(self) -> None:
        """Read the state and obey it; while the database does not answer, the last state stays in force."""
        with suppress(DatabaseUnavailable):
            await self._read()

    async def recent(self, seconds: float) -> SharedState:
        """The state as it was at most `seconds` ago; the database is asked only if the last read is older.

        Raises:
            DatabaseUnavailable: the last read is older, and PostgreSQL does not answer.
        """
        if self._last is not None and self._clock() - self._last[1] <= seconds:
            return self._last[0]
        return await self._read()

    async def _read(self) -> SharedState:
        asked = self._clock()
        stored = await self._store.read()
        state = SharedState(stored.draining, self._seal.is_sealed(stored.seal), stored.canaries)
        for obey in self._obeying:
            obey(state)
        self._last = (state, asked)
        return state
