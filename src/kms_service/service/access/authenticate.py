"""Finds the caller who holds a bearer token."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime
from typing import TypeVar

from kms_service.access import tokens
from kms_service.access.scopes import Caller
from kms_service.crypto.row_mac import RowMacKeyring
from kms_service.errors import (
    DatabaseUnavailable,
    IntegrityFailure,
    KmsUnavailable,
    NotAuthenticated,
    Overloaded,
    TokenIntegrityFailure,
)
from kms_service.service.access.pace import Turns
from kms_service.service.access.records import is_good, verify
from kms_service.service.access.token_form import was_made
from kms_service.store.access.tokens import FoundToken, TokenRow, TokenStore
from kms_service.telemetry import metrics
from kms_service.telemetry.logs import get_logger

# Within this many seconds a revocation or expiry takes effect in every process.
REMEMBERED_SECONDS = 2.0
REMEMBERED_TOKENS = 4096
# How many stored digests are kept in memory; if there are more, unknown tokens of the old form must wait.
STORED_TOKENS = 100_000
# The time of last use is stored this often, whatever the traffic.
LAST_USE_SECONDS = 30.0
# The digests of stored tokens are read no more often than this.
STORED_SECONDS = 30.0

# A refusal costs about a millisecond of the one core that a process has, so this is a tenth of it.
REFUSALS_PER_SECOND = 100
# So many come without waiting, so that a deployment with a wrong token learns of it at once.
REFUSALS_AT_ONCE = 50
# Look-ups of old-form tokens that were not stored a moment ago: hardly any of them is good.
LOOK_UPS_PER_SECOND = 20

Keyring = Callable[[], Awaitable[RowMacKeyring]]
Ring = Callable[[], RowMacKeyring | None]
T = TypeVar("T")

log = get_logger()


class Authenticator:
    """Looks tokens up by digest, and remembers each answer for two seconds.

    The database alone is not trusted: a token grants what its row says only if the row's MAC holds, and if
    neither this process nor the audit log knows of a later change of it.

    A flood of made-up tokens takes nothing from good callers. One in the new form, which carries a MAC, costs
    no look-up. One in the old form must be stored, or waits for its turn to be looked up. And every refusal
    waits for its turn.

    Args:
        store: reads tokens.
        ring: returns the keys of row MACs; None while this process has not unwrapped them.
        clock: monotonic seconds.
        wall: returns this machine's time, UTC.
    """

    def __init__(
        self,
        store: TokenStore,
        ring: Ring,
        clock: Callable[[], float],
        wall: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._ring = ring
        self._clock = clock
        self._wall = wall
        self._refusals = Turns(clock, per_second=REFUSALS_PER_SECOND, at_once=REFUSALS_AT_ONCE)
        self._look_ups = Turns(clock, per_second=LOOK_UPS_PER_SECOND, at_once=LOOK_UPS_PER_SECOND)
        self._used: set[str] = set()
        self._remembered: dict[bytes, tuple[Caller, float]] = {}
        self._refused: dict[bytes, float] = {}
        # Digests of stored tokens, whether their MAC holds or not. They are not secret.
        self._stored: frozenset[bytes] = frozenset()
        self._stored_until = clock()
        # The highest version, with a MAC that holds, of each token that was ever used here.
        self._versions: dict[str, int] = {}

    def recall(self, token: str) -> Caller | None:
        """The caller, if this token was found good within the last two seconds; never waits."""
        digest = tokens.digest(token)
        caller, until = self._remembered.get(digest, (None, 0.0)) if digest else (None, 0.0)
        if caller is None or self._clock() >= until:
            return None
        self._used.add(caller.name)
        return caller

    async def expect(self, token: str | None) -> bytes:
        """The digest of a token that is worth looking up; asks the database next to nothing.

        Raises:
            NotAuthenticated: there is no token, or a made-up one.
            KmsUnavailable: the keys of row MACs are not unwrapped yet, so the token cannot be checked.
            Overloaded: too many tokens of the old form that may not be stored are waiting to be looked up.
        """
        digest = None if token is None else tokens.digest(token)
        if token is None or digest is None:
            return await self._refuse()
        form = tokens.split(token)
        if form is None:
            await self._wait_unless_stored(digest)
        elif not was_made(form, self._keys()):
            return await self._refuse()
        if self._clock() < self._refused.get(digest, 0.0):
            return await self._refuse()
        return digest

    async def authenticate(self, digest: bytes) -> Caller:
        """The caller who holds the token with this digest.

        Raises:
            NotAuthenticated: the token is unknown, expired or revoked, or its row is not as an operator
                wrote it last.
            DatabaseUnavailable: the token cannot be looked up, so nobody is let in.
            KmsUnavailable: the keys of row MACs are not unwrapped yet, so nobody is let in.
        """
        asked = self._clock()
        caller = await self._look_up(digest)
        # In separate memories, so that guessing tokens does not push good ones out.
        if caller is None:
            _remember(self._refused, digest, asked + REMEMBERED_SECONDS)
            raise _refusal()
        _remember(self._remembered, digest, (caller, asked + REMEMBERED_SECONDS))
        self._used.add(caller.name)
        return caller

    async def note_last_use(self) -> None:
        """Store which tokens were used since the last call; run regularly, and at the end."""
        used, self._used = self._used, set()
        if not used:
            return
        try:
            await self._store.mark_used(list(used))
        except DatabaseUnavailable:
            self._used |= used

    async def _wait_unless_stored(self, digest: bytes) -> None:
        if digest not in self._stored and self._clock() >= self._stored_until:
            self._stored_until = self._clock() + STORED_SECONDS
            with suppress(DatabaseUnavailable):  # the look-up will report it
                self._stored = await self._store.digests(limit=STORED_TOKENS)
        if digest not in self._stored and not await self._look_ups.wait():
            metrics.overloaded.inc()
            raise Overloaded

    async def _refuse(self) -> bytes:
        await self._refusals.wait()
        raise _refusal()

    async def _look_up(self, digest: bytes) -> Caller | None:
        try:
            found = await self._store.find(digest)
        except IntegrityFailure as failure:
            _report(None, failure)
            return None
        if found is None:
            return None
        ring = self._keys()
        try:
            self._check(found, ring)
        except TokenIntegrityFailure as failure:
            _report(found.row.name, failure)
            return None
        # A token expires by the database's clock or by ours, so that nobody can turn one back to revive it.
        return _caller(found.row) if is_good(found.row, digest, max(found.now, self._wall())) else None

    def _check(self, found: FoundToken, ring: RowMacKeyring) -> None:
        # 1. The row's writer holds the MAC key, and the audit log has no later change of this token.
        verify(found, ring)
        # 2. This process has not seen a later version either, so deleting the log's rows brings none back.
        name, version = found.row.name, found.row.version
        if version < self._versions.get(name, 0):
            raise TokenIntegrityFailure("token rolled back")
        self._versions[name] = version

    def _keys(self) -> RowMacKeyring:
        # Not loaded on demand: else anybody with a made-up token could cause KMS calls.
        ring = self._ring()
        if ring is None:
            raise KmsUnavailable("row MAC keys not loaded", "row-mac")
        return ring


def _remember(memory: dict[bytes, T], digest: bytes, answer: T) -> None:
    # Guessing tokens must not fill the memory.
    if len(memory) >= REMEMBERED_TOKENS:
        memory.clear()
    memory[digest] = answer


def _refusal() -> NotAuthenticated:
    metrics.authentication_failures.inc()
    return NotAuthenticated("A valid bearer token is required.")


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
