"""From a bearer token to the caller who holds it."""

from collections.abc import Callable

from kms_service.access import tokens
from kms_service.access.scopes import Caller
from kms_service.errors import DatabaseUnavailable, NotAuthenticated
from kms_service.store.access.tokens import TokenRow, TokenStore
from kms_service.telemetry import metrics

# Within so many seconds a revocation or expiry acts in every process.
REMEMBERED_SECONDS = 2.0
REMEMBERED_TOKENS = 4096
# Last use is noted once in so many seconds, whatever the traffic.
LAST_USE_SECONDS = 30.0


class Authenticator:
    """Looks tokens up by digest, and remembers each answer for two seconds."""

    def __init__(self, store: TokenStore, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock
        self._used: set[str] = set()
        self._remembered: dict[bytes, tuple[Caller | None, float]] = {}

    def remembered(self, token: str) -> Caller | None:
        """The caller, if this token was good within the last two seconds; never waits."""
        digest = tokens.digest(token)
        caller, until = self._remembered.get(digest, (None, 0.0)) if digest else (None, 0.0)
        if caller is None or self._clock() >= until:
            return None
        self._used.add(caller.name)
        return caller

    async def authenticate(self, token: str | None) -> Caller:
        """The caller who holds this token.

        Raises:
            NotAuthenticated: no token, or an unknown, expired or revoked one.
            DatabaseUnavailable: the token cannot be looked up, so nobody is let in.
        """
        digest = tokens.digest(token) if token is not None else None
        caller = None if digest is None else await self._find(digest)
        if caller is None:
            metrics.authentication_failures.inc()
            raise NotAuthenticated("A valid bearer token is required.")
        self._used.add(caller.name)
        return caller

    async def note_last_use(self) -> None:
        """Store which tokens were used since the last time; run regularly, and at the end."""
        used, self._used = self._used, set()
        if not used:
            return
        try:
            await self._store.mark_used(list(used))
        except DatabaseUnavailable:
            self._used |= used

    async def _find(self, digest: bytes) -> Caller | None:
        remembered = self._remembered.get(digest)
        if remembered is not None and self._clock() < remembered[1]:
            return remembered[0]
        asked = self._clock()
        row = await self._store.find_valid(digest)
        caller = None if row is None else _caller(row)
        self._remember(digest, caller, asked + REMEMBERED_SECONDS)
        return caller

    def _remember(self, digest: bytes, caller: Caller | None, until: float) -> None:
        # Someone who guesses tokens must not fill the memory.
        if len(self._remembered) >= REMEMBERED_TOKENS:
            self._remembered.clear()
        self._remembered[digest] = (caller, until)


def _caller(row: TokenRow) -> Caller:
    return Caller(
        row.name,
        frozenset(row.scopes),
        row.private_key_reads_per_minute,
        row.signatures_per_minute,
        row.policy,
    )
