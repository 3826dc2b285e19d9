"""Makes this process obey what operators set for all replicas, a second or so after they set it."""

from collections.abc import Callable, Sequence

from kms_service.errors import DatabaseUnavailable
from kms_service.store.shared_state import SharedState, SharedStateStore

POLL_SECONDS = 1.0


class SharedStatePoll:
    """Reads the shared state with one statement and hands it to everybody who obeys a part of it."""

    def __init__(self, store: SharedStateStore, obeying: Sequence[Callable[[SharedState], None]]) -> None:
        self._store = store
        self._obeying = tuple(obeying)

    def poll(self) -> None:
        """Read and obey; while the database does not answer, what was read last stays in force."""
        try:
            state = self._store.read()
        except DatabaseUnavailable:
            return
        for obey in self._obeying:
            obey(state)
