"""From a bearer token to the caller who holds it."""

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

# Within so many seconds a revocation or expiry acts in every process.
REMEMBERED_SECONDS = 2.0
REMEMBERED_TOKENS = 4096
# Of more than these, those that are not known wait for their turn.
STORED_TOKENS = 100_000
# Last use is noted once in so many seconds, whatever the traffic.
LAST_USE_SECONDS = 30.0
# Which tokens are stored is asked no more often than that.
STORED_SECONDS = 30.0

# A refusal costs about a millisecond of the one processor that a process has, so this is a tenth of it.
REFUSALS_PER_SECOND = 100
# A deployment with a wrong token is told at once.
REFUSALS_AT_ONCE = 50
# Look-ups of tokens that were not stored a moment ago: hardly any of them is good.
LOOK_UPS_PER_SECOND = 20

Keyring = Callable[[], Awaitable[RowMacKeyring]]
Ring = Callable[[], RowMacKeyring | None]
T = TypeVar("T")

log = get_logger()


class Authenticator:
    """Looks tokens up by digest, and remembers each answer for two seconds.

    The database's word alone says nothing: a token grants what its row says only with a right MAC, and only
    if neither this process nor the audit log knows of a later change of it.

    Who floods the service with made-up tokens takes nothing from the others: those of the form with a MAC
    cost no look-up, those of the form before have to be stored ones or else wait for their turn, and so does
    every refusal.

    Args:
        store: where tokens lie.
        ring: the keys of row MACs; None while this process has not unwrapped them.
        clock: monotonic.
        wall: the time of this machine, UTC.
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
        # Digests that are stored, with a right MAC or without. They are no secret.
        self._stored: frozenset[bytes] = frozenset()
        self._stored_until = clock()
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

    async def expect(self, token: str | None) -> bytes:
        """The digest of a token that is worth a look-up; asks the database next to nothing.

        Raises:
            NotAuthenticated: no token, or a made-up one.
            KmsUnavailable: the keys of row MACs are not here yet, so that nothing can be told of it.
        Overloaded: too many tokens that are not known to be stored wait to be looked up.
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
            NotAuthenticated: an unknown, expired or revoked one, or one whose row no operator wrote last.
            DatabaseUnavailable: the token cannot be looked up, so nobody is let in.
            KmsUnavailable: the keys of row MACs are not here yet, so nobody is let in.
        """
        asked = self._clock()
        caller = await self._look_up(digest)
        # Apart from each other, so that whoever guesses has no good token forgotten.
        if caller is None:
            _remember(self._refused, digest, asked + REMEMBERED_SECONDS)
            raise _refusal()
        _remember(self._remembered, digest, (caller, asked + REMEMBERED_SECONDS))
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

    async def _wait_unless_stored(self, digest: bytes) -> None:
        if digest not in self._stored and self._clock() >= self._stored_until:
            self._stored_until = self._clock() + STORED_SECONDS
            with suppress(DatabaseUnavailable):  # the look-up will say so
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

    def _keys(self) -> RowMacKeyring:
        # Not loaded on demand: whoever sends a made-up token would have KMS asked, and paid for.
        ring = self._ring()
        if ring is None:
            raise KmsUnavailable("row MAC keys not loaded", "row-mac")
        return ring


def _remember(memory: dict[bytes, T], digest: bytes, answer: T) -> None:
    # Someone who guesses tokens must not fill the memory.
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
