"""Tokens as operators handle them: create, rotate, list, revoke; each change is on record."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from kms_service.access import tokens
from kms_service.access.scopes import Caller, Scope
from kms_service.errors import InvalidRequest, PolicyNotFound, TokenExists, TokenNotFound
from kms_service.service.audit.log import AuditLog, Event
from kms_service.store.access.tokens import TokenRow, TokenStore
from kms_service.store.policies.versions import PolicyStore


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token just made. `secret` is shown to its owner once and is nowhere else."""

    row: TokenRow
    secret: str

    def __repr__(self) -> str:
        return f"<NewToken: {self.row.name}>"


class TokenService:
    """Creates, rotates, lists and revokes tokens.

    Every method raises DatabaseUnavailable when PostgreSQL does not answer, and AuditUnavailable when a
    change could not be recorded.
    """

    def __init__(self, store: TokenStore, policies: PolicyStore, audit: AuditLog) -> None:
        self._store = store
        self._policies = policies
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
        """Make a token; the caller owns its secret.

        Raises:
            InvalidRequest: the name has characters a name may not have.
            TokenExists: the name is taken; names of revoked tokens stay taken, the audit log refers to them.
            PolicyNotFound: no policy has the name given.
        """
        if not tokens.is_name(name):
            raise InvalidRequest(
                "a token's name has 1 to 64 characters of A-Z a-z 0-9 . _ - and is no actor's of the service",
                "name",
            )
        await self._check_policy(policy)
        secret = tokens.new_token()
        row = await self._store.insert(
            name=name,
            digest=tokens.digest(secret) or b"",
            scopes=sorted(set(scopes)),
            private_key_reads_per_minute=private_key_reads_per_minute,
            signatures_per_minute=signatures_per_minute,
            expires_in=expires_in,
            policy=policy,
        )
        if row is None:
            raise TokenExists(f"a token named {name} exists already")
        # Recorded before the secret is shown: a token nobody has seen cannot be used.
        bounds = "" if policy is None else f"; policy {policy}"
        await self._audit.record(
            caller, Event("token.create", detail=f"{name}: {' '.join(row.scopes)}{bounds}")
        )
        return NewToken(row, secret)

    async def rotate(
        self, caller: Caller, name: str, *, overlap: timedelta, expires_in: timedelta | None
    ) -> NewToken:
        """A new secret for a valid token; the old one stays good for `overlap`, and no older one does.

        Args:
            caller: who replaces it.
            name: whose secret to replace; scopes and limits stay.
            overlap: time for callers to change over.
            expires_in: a new expiry of the token; None leaves it.

        Raises:
            TokenNotFound: no valid token has this name.
        """
        secret = tokens.new_token()
        row = await self._store.rotate(name, tokens.digest(secret) or b"", overlap, expires_in)
        if row is None:
            raise TokenNotFound(f"no valid token is named {name}")
        # Recorded before the secret is shown, as at creation.
        await self._audit.record(caller, Event("token.rotate", detail=name))
        return NewToken(row, secret)

    async def set_policy(self, caller: Caller, name: str, policy: str | None) -> TokenRow:
        """Bound a token by a policy, or by none; acts everywhere within seconds.

        Raises:
            TokenNotFound: no valid token has this name.
            PolicyNotFound: no policy has the name given.
        """
        await self._check_policy(policy)
        # Recorded before it acts: a change of policy may grant.
        await self._audit.record(caller, Event("token.policy", detail=f"{name}: {policy or 'none'}"))
        row = await self._store.set_policy(name, policy)
        if row is None:
            raise TokenNotFound(f"no valid token is named {name}")
        return row

    async def _check_policy(self, name: str | None) -> None:
        if name is not None and await self._policies.newest(name) is None:
            raise PolicyNotFound

    async def list_all(self) -> list[TokenRow]:
        """All tokens by name, those expired or revoked too."""
        return await self._store.list_all()

    async def revoke(self, caller: Caller, name: str) -> TokenRow:
        """Revoke a token for ever; acts everywhere within seconds.

        Raises:
            TokenNotFound: no token has this name.
        """
        row = await self._store.revoke(name)
        if row is None:
            raise TokenNotFound(f"no token is named {name}")
        # Recorded afterwards: taking a right away must not wait for the audit log.
        await self._audit.record(caller, Event("token.revoke", detail=name))
        return row
