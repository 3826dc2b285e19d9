"""The `tokens` table: names, scopes and digests, never a token."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, and_, bindparam, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from kms_service.store.postgres.database import Database
from kms_service.store.postgres.tables import tokens


@dataclass(frozen=True, slots=True)
class TokenRow:
    """A token as operators see it; times are UTC and the database's.

    Attributes:
        previous_expires_at: until when the secret before the last rotation is good; None when never rotated.
        last_used_at: to within half a minute; None when never used.
        policy: the name of what bounds it; None is unbounded.
    """

    name: str
    scopes: tuple[str, ...]
    private_key_reads_per_minute: int | None
    signatures_per_minute: int | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    previous_expires_at: datetime | None
    last_used_at: datetime | None
    policy: str | None


_COLUMNS = (
    tokens.c.name,
    tokens.c.scopes,
    tokens.c.private_key_reads_per_minute,
    tokens.c.signatures_per_minute,
    tokens.c.created_at,
    tokens.c.expires_at,
    tokens.c.revoked_at,
    tokens.c.previous_expires_at,
    tokens.c.last_used_at,
    tokens.c.policy,
)
_VALID = select(*_COLUMNS).where(
    or_(
        tokens.c.token_sha256 == bindparam("digest"),
        and_(
            tokens.c.previous_token_sha256 == bindparam("digest"),
            tokens.c.previous_expires_at > func.clock_timestamp(),
        ),
    ),
    tokens.c.revoked_at.is_(None),
    or_(tokens.c.expires_at.is_(None), tokens.c.expires_at > func.clock_timestamp()),
)


class TokenStore:
    """Statements on `tokens`.

    Every method raises DatabaseUnavailable when PostgreSQL does not answer.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find_valid(self, digest: bytes) -> TokenRow | None:
        """The token with this SHA-256 digest that is neither expired nor revoked, by the database's clock."""
        async with self._database.connection() as connection:
            row = (await connection.execute(_VALID, {"digest": digest})).one_or_none()
        return None if row is None else _token(row)

    async def insert(
        self,
        *,
        name: str,
        digest: bytes,
        scopes: Sequence[str],
        private_key_reads_per_minute: int | None,
        signatures_per_minute: int | None,
        expires_in: timedelta | None,
        policy: str | None,
    ) -> TokenRow | None:
        """Store a new token; None when the name is taken, by a revoked token too."""
        statement = (
            insert(tokens)
            .values(
                name=name,
                token_sha256=digest,
                scopes=list(scopes),
                private_key_reads_per_minute=private_key_reads_per_minute,
                signatures_per_minute=signatures_per_minute,
                expires_at=None if expires_in is None else func.now() + expires_in,
                policy=policy,
            )
            .on_conflict_do_nothing(index_elements=[tokens.c.name])
            .returning(*_COLUMNS)
        )
        async with self._database.connection() as connection:
            row = (await connection.execute(statement)).one_or_none()
        return None if row is None else _token(row)

    async def list_all(self) -> list[TokenRow]:
        """All tokens by name, those expired or revoked too."""
        async with self._database.connection() as connection:
            return [
                _token(row) for row in await connection.execute(select(*_COLUMNS).order_by(tokens.c.name))
            ]

    async def rotate(
        self, name: str, digest: bytes, overlap: timedelta, expires_in: timedelta | None
    ) -> TokenRow | None:
        """Replace a token's digest; the one before stays good for the overlap, or until it expires.

        Returns:
            None when no token of this name is valid.
        """
        now = func.clock_timestamp()
        expires_at = tokens.c.expires_at if expires_in is None else now + expires_in
        statement = (
            update(tokens)
            .where(
                tokens.c.name == name,
                tokens.c.revoked_at.is_(None),
                or_(tokens.c.expires_at.is_(None), tokens.c.expires_at > now),
            )
            .values(
                token_sha256=digest,
                previous_token_sha256=tokens.c.token_sha256,
                previous_expires_at=func.least(now + overlap, tokens.c.expires_at),
                expires_at=expires_at,
            )
            .returning(*_COLUMNS)
        )
        async with self._database.connection() as connection:
            row = (await connection.execute(statement)).one_or_none()
        return None if row is None else _token(row)

    async def set_policy(self, name: str, policy: str | None) -> TokenRow | None:
        """Bound a token by a policy, or by none. None when no token of this name is valid."""
        statement = (
            update(tokens)
            .where(tokens.c.name == name, tokens.c.revoked_at.is_(None))
            .values(policy=policy)
            .returning(*_COLUMNS)
        )
        async with self._database.connection() as connection:
            row = (await connection.execute(statement)).one_or_none()
        return None if row is None else _token(row)

    async def mark_used(self, names: Sequence[str]) -> None:
        """Note that these tokens were used about now."""
        statement = (
            update(tokens).where(tokens.c.name.in_(sorted(names))).values(last_used_at=func.clock_timestamp())
        )
        async with self._database.connection() as connection:
            await connection.execute(statement)

    async def revoke(self, name: str) -> TokenRow | None:
        """Revoke a token for ever; repeating it keeps the first time. None when no token has this name."""
        statement = (
            update(tokens)
            .where(tokens.c.name == name)
            .values(revoked_at=func.coalesce(tokens.c.revoked_at, func.now()))
            .returning(*_COLUMNS)
        )
        async with self._database.connection() as connection:
            row = (await connection.execute(statement)).one_or_none()
        return None if row is None else _token(row)


def _token(row: Row[*tuple[Any, ...]]) -> TokenRow:
    name, scopes, *others = row
    return TokenRow(name, tuple(scopes), *others)
