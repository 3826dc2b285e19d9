"""Creates, rotates, bounds, lists and revokes tokens for operators.

Every change carries a MAC of the whole row, and is committed together with its audit row.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from kms_service.access import tokens
from kms_service.access.scopes import Caller, Scope
from kms_service.errors import (
    AuditUnavailable,
    IntegrityFailure,
    InvalidRequest,
    KmsError,
    NoUsableKey,
    PolicyNotFound,
    TokenChangedElsewhere,
    TokenExists,
    TokenIntegrityFailure,
    TokenNotFound,
)
from kms_service.service.access.authenticate import Keyring
from kms_service.service.access.records import is_valid, record, verify, with_mac
from kms_service.service.access.token_form import make_token
from kms_service.service.audit.log import AuditLog, Event
from kms_service.store.access.token_changes import token_change
from kms_service.store.access.tokens import TOKEN_CREATED, FoundToken, TokenRow, TokenStore
from kms_service.store.policies.versions import PolicyStore

CONFIRMED = "token.confirm"
REVOKED = "token.revoke"
_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token just made. `secret` is shown to its owner once and stored nowhere."""

    row: TokenRow
    secret: str

    def __repr__(self) -> str:
        return f"<NewToken: {self.row.name}>"


@dataclass(frozen=True, slots=True)
class Unconfirmed:
    """A valid token without a MAC, and what the audit log says about it.

    Attributes:
        created_on_record: whether there is an audit row of its creation. If not, somebody may have planted
            the token.
        had_mac: whether it once had a MAC, by the log or its version. If so, somebody removed it, and nobody
            can know what else they changed.
    """

    row: TokenRow
    created_on_record: bool
    had_mac: bool


class TokenService:
    """Creates, rotates, lists and revokes tokens.

    Every method raises DatabaseUnavailable when PostgreSQL does not answer, AuditUnavailable when a change
    could not be recorded, and the KMS errors of unwrapping the keys of row MACs. `rotate` and `set_policy`
    raise TokenIntegrityFailure when the row is not as an operator wrote it last, since a change would give it
    a MAC that holds.
    """

    def __init__(self, store: TokenStore, policies: PolicyStore, keyring: Keyring, audit: AuditLog) -> None:
        self._store = store
        self._policies = policies
        self._keyring = keyring
        self._audit = audit

    async def create(
        self,
        caller: Caller,
        name: str,
        scopes: Sequence[Scope],
        *,
        expires_in: timedelta | None,
        private_key_reads_per_minute: int | None,
        signatures_per_minute: int | None,
        policy: str | None,
    ) -> NewToken:
        """Create a token. The caller owns the secret.

        Raises:
            InvalidRequest: the name is not allowed.
            TokenExists: the name is taken. Names of revoked tokens stay taken, since the audit log has them.
            PolicyNotFound: no policy has the given name.
        """
        if not tokens.is_name(name):
            raise InvalidRequest(
                "a token's name has 1 to 64 characters of A-Z a-z 0-9 . _ - and is not reserved",
                "name",
            )
        await self._check_policy(policy)
        ring = await self._keyring()
        known = await self._store.look_up(name)
        secret = make_token(ring)
        row = TokenRow(
            name=name,
            # Above the log's: if a row was deleted, other processes still know its version.
            version=known.recorded + 1,
            token_sha256=tokens.digest(secret) or b"",
            previous_token_sha256=None,
            previous_expires_at=None,
            scopes=tuple(sorted(set(scopes))),
            private_key_reads_per_minute=private_key_reads_per_minute,
            signatures_per_minute=signatures_per_minute,
            created_at=known.now,
            expires_at=None if expires_in is None else known.now + expires_in,
            revoked_at=None,
            policy=policy,
            last_used_at=None,
            mac=None,
        )
        made = with_mac(row, ring)
        event = Event(TOKEN_CREATED, detail=record(made, _bounds(made)))
        if known.row is not None or not await self._write(caller, event, made, None):
            raise TokenExists(f"a token named {name} exists already")
        return NewToken(made, secret)

    async def rotate(
        self, caller: Caller, name: str, *, overlap: timedelta, expires_in: timedelta | None
    ) -> NewToken:
        """Give a valid token a new secret; the last one stays good for `overlap`, earlier ones do not.

        Args:
            caller: who asks for it.
            name: the token's name; its scopes and limits stay.
            overlap: how long both secrets are good.
            expires_in: when the token expires, from now; None keeps its expiry.

        Raises:
            TokenNotFound: no valid token has this name.
            TokenChangedElsewhere: somebody else changed it at the same moment.
        """
        secret = make_token(await self._keyring())

        def rotate_row(row: TokenRow, now: datetime) -> TokenRow:
            overlap_ends = now + overlap
            return replace(
                row,
                token_sha256=tokens.digest(secret) or b"",
                previous_token_sha256=row.token_sha256,
                previous_expires_at=min(overlap_ends, row.expires_at or overlap_ends),
                expires_at=row.expires_at if expires_in is None else now + expires_in,
            )

        return NewToken(await self._change(caller, name, "token.rotate", "", rotate_row), secret)

    async def set_policy(self, caller: Caller, name: str, policy: str | None) -> TokenRow:
        """Bound a token by a policy, or by none; takes effect everywhere within seconds.

        Raises:
            TokenNotFound: no valid token has this name.
            PolicyNotFound: no policy has the given name.
            TokenChangedElsewhere: somebody else changed it at the same moment.
        """
        await self._check_policy(policy)
        return await self._change(
            caller, name, "token.policy", policy or "none", lambda row, _: replace(row, policy=policy)
        )

    async def list_all(self) -> list[TokenRow]:
        """All tokens by name, including expired and revoked ones, as stored; no MAC is checked."""
        return [found.row for found in await self._store.list_all()]

    async def find_refused(self) -> Mapping[str, str]:
        """The tokens that grant nothing since no operator wrote their rows last: names and reasons."""
        ring = await self._keyring()
        reasons: dict[str, str] = {}
        for found in await self._store.list_all():
            try:
                verify(found, ring)
            except TokenIntegrityFailure as failure:
                reasons[found.row.name] = failure.reason
        return reasons

    async def list_unconfirmed(self) -> Sequence[Unconfirmed]:
        """The valid tokens without a MAC, by name: from before there were MACs, refused until confirmed."""
        return [
            Unconfirmed(
                row := each.found.row, each.created_on_record, bool(each.found.recorded or row.version)
            )
            for each in await self._store.unproven()
            if is_valid(each.found.row, each.found.now)
        ]

    async def confirm(self, caller: Caller, shown: Unconfirmed) -> TokenRow:
        """Give a token its MAC just as a person has seen it; what was changed since is undone.

        Raises:
            TokenIntegrityFailure: it had a MAC before.
            TokenChangedElsewhere: somebody else changed it meanwhile.
        """
        if shown.had_mac:
            raise TokenIntegrityFailure("row without a MAC")
        row = shown.row
        confirmed = with_mac(replace(row, version=row.version + 1), await self._keyring())
        event = Event(CONFIRMED, detail=record(confirmed, _bounds(confirmed)))
        if not await self._write(caller, event, confirmed, row.version):
            raise TokenChangedElsewhere(f"{row.name} was changed at the same moment; look at it first")
        return confirmed

    async def revoke(self, caller: Caller, name: str) -> TokenRow:
        """Revoke a token for ever, whatever its row says; takes effect everywhere within seconds.

        Raises:
            TokenNotFound: no token has this name.
            TokenChangedElsewhere: somebody else changed it at the same moment.
        """
        try:
            return await self._revoke_with_mac(caller, name)
        except (KmsError, NoUsableKey, IntegrityFailure, AuditUnavailable, ValueError):
            # Revoking must not depend on KMS or the log. Removing the MAC is enough: the row grants nothing.
            return await self._revoke_at_once(caller, name)

    async def _revoke_with_mac(self, caller: Caller, name: str) -> TokenRow:
        ring = await self._keyring()
        for _ in range(_ATTEMPTS):
            found = await self._find(name, "token")
            revoked = replace(
                found.row, version=_next_version(found), revoked_at=found.row.revoked_at or found.now
            )
            written = with_mac(revoked, ring)
            event = Event(REVOKED, detail=record(written))
            if await self._write(caller, event, written, found.row.version):
                return written
        raise TokenChangedElsewhere(f"{name} was changed at the same moment; look at it first")

    async def _revoke_at_once(self, caller: Caller, name: str) -> TokenRow:
        if await self._store.revoke(name) is None:
            raise TokenNotFound(f"no token is named {name}")
        row = (await self._find(name, "token")).row
        await self._audit.record(caller, Event(REVOKED, detail=record(row)))
        return row

    async def _change(
        self,
        caller: Caller,
        name: str,
        action: str,
        told: str,
        change: Callable[[TokenRow, datetime], TokenRow],
    ) -> TokenRow:
        ring = await self._keyring()
        for _ in range(_ATTEMPTS):
            found = await self._find(name, "valid token")
            if not is_valid(found.row, found.now):
                raise TokenNotFound(f"no valid token is named {name}")
            verify(found, ring)
            changed = with_mac(replace(change(found.row, found.now), version=_next_version(found)), ring)
            event = Event(action, detail=record(changed, told))
            if await self._write(caller, event, changed, found.row.version):
                return changed
        raise TokenChangedElsewhere(f"{name} was changed at the same moment; look at it first")

    async def _write(self, caller: Caller, event: Event, token: TokenRow, was: int | None) -> bool:
        return await self._audit.record_with(caller, event, token_change(token, was)) is not None

    async def _find(self, name: str, what: str) -> FoundToken:
        known = await self._store.look_up(name)
        if known.row is None:
            raise TokenNotFound(f"no {what} is named {name}")
        return FoundToken(known.row, known.recorded, known.now)

    async def _check_policy(self, name: str | None) -> None:
        if name is not None and await self._policies.newest(name) is None:
            raise PolicyNotFound


def _bounds(row: TokenRow) -> str:
    return " ".join(row.scopes) + ("" if row.policy is None else f"; policy {row.policy}")


def _next_version(found: FoundToken) -> int:
    return max(found.row.version, found.recorded) + 1
