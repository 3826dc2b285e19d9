"""From a bearer token to the caller who holds it."""

from collections.abc import Awaitable, Callable
from datetime import datetime

from kms_service.access import tokens
from kms_service.access.scopes import Caller
from kms_service.crypto.row_mac import RowMacKeyring
from kms_service.errors import DatabaseUnavailable, IntegrityFailure, NotAuthenticated, TokenIntegrityFailure
from kms_service.service.access.records import is_good, verify
from kms_service.store.access.tokens import FoundToken, TokenRow, TokenStore
from kms_service.telemetry import metrics
from kms_service.telemetry.logs import get_logger

# Within so many seconds a revocation or expiry acts in every process.
REMEMBERED_SECONDS = 2.0
REMEMBERED_TOKENS = 4096
# Last use is noted once in so many seconds, whatever the traffic.
LAST_USE_SECONDS = 30.0

Keyring = Callable[[], Awaitable[RowMacKeyring]]

log = get_logger()


class Authenticator:
    """Looks tokens up by digest, and remembers each answer for two seconds.

    The database's word alone says nothing: a token grants what its row says only with a right MAC, and only
    if neither this process nor the audit log knows of a later change of it.

    Args:
        store: where tokens lie.
        keyring: the keys of row MACs.
        clock: monotonic.
        wall: the time of this machine, UTC.
    """

    def __init__(
        self,
        store: TokenStore,
        keyring: Keyring,
        clock: Callable[[], float],
        wall: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._keyring = keyring
        self._clock = clock
        self._wall = wall
        self._used: set[str] = set()
        self._remembered: dict[bytes, tuple[Caller | None, float]] = {}
        # The highest version with a right MAC of each token that was ever used here.
        self._versions: dict[str, int] = {}

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
            NotAuthenticated: no token, or an unknown, expired or revoked one, or one whose row no operator
                wrote last.
            DatabaseUnavailable: the token cannot be looked up, so nobody is let in.
            KmsThrottled, KmsUnavailable, KmsKeyUnusable, NoUsableKey, IntegrityFailure: the keys of row MACs
                are not here yet and cannot be unwrapped, so nobody is let in.
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
        caller = await self._look_up(digest)
        self._remember(digest, caller, asked + REMEMBERED_SECONDS)
        return caller

    async def _look_up(self, digest: bytes) -> Caller | None:
        try:
            found = await self._store.find(digest)
        except IntegrityFailure as failure:
            _report(None, failure)
            return None
        if found is None:
            return None
        ring = await self._keyring()
        try:
            self._check(found, ring)
        except TokenIntegrityFailure as failure:
            _report(found.row.name, failure)
            return None
        # The database's clock decides, but its owner may not turn it back: a token ends by either.
        return _caller(found.row) if is_good(found.row, digest, max(found.now, self._wall())) else None

    def _check(self, found: FoundToken, ring: RowMacKeyring) -> None:
        # 1. Whoever wrote the row holds the key, and the log tells of no later change.
        verify(found, ring)
        # 2. Neither does this process know of one.
        name, version = found.row.name, found.row.version
        if version < self._versions.get(name, 0):
            raise TokenIntegrityFailure("token rolled back")
        self._versions[name] = version

    def _remember(self, digest: bytes, caller: Caller | None, until: float) -> None:
        # Someone who guesses tokens must not fill the memory.
        if len(self._remembered) >= REMEMBERED_TOKENS:
            self._remembered.clear()
        self._remembered[digest] = (caller, until)


def _report(name: str | None, failure: IntegrityFailure) -> None:
    metrics.token_integrity_failures.inc()
    log.error("token_integrity_failure", token=name, reason=failure.reason)


def _caller(row: TokenRow) -> Caller:
    return Caller(
        row.name,
        frozenset(row.scopes),
        row.private_key_reads_per_minute,
        row.signatures_per_minute,
        row.policy,
    )
