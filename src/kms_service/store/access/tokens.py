"""The `tokens` table: names, scopes and digests, never a token. A row is trusted only if its MAC holds.

Tokens are written by `token_changes`, each together with its audit row.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Row,
    Select,
    bindparam,
    cast,
    collate,
    func,
    literal,
    or_,
    select,
    text,
    update,
)

from kms_service.crypto.material import RowMac
from kms_service.store.postgres.database import Database
from kms_service.store.postgres.tables import audit_events, tokens

TOKEN_CREATED = "token.create"  # noqa: S105 # an action
"""The action of the audit rows that record a new token."""


@dataclass(frozen=True, slots=True)
class TokenRow:
    """A token as stored; times are UTC, by the database's clock.

    Attributes:
        version: grows by one with every change; 0 in rows from before there were versions.
        token_sha256: the token's digest.
        previous_token_sha256: the digest of the token before the last rotation; None if it was never rotated.
        previous_expires_at: until when that token is good.
        policy: the name of the policy that bounds it; None if it is unbounded.
        last_used_at: to within half a minute; None if never used. The only field that the MAC does not cover.
        mac: None in rows from before there were MACs.
    """

    name: str
    version: int
    token_sha256: bytes = field(repr=False)
    previous_token_sha256: bytes | None = field(repr=False)
    previous_expires_at: datetime | None
    scopes: tuple[str, ...]
    private_key_reads_per_minute: int | None
    signatures_per_minute: int | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    policy: str | None
    last_used_at: datetime | None
    mac: RowMac | None


@dataclass(frozen=True, slots=True)
class FoundToken:
    """A token, and what else is needed to judge it.

    Attributes:
        recorded: its highest version in the audit log; 0 if there is none.
        now: the database's time, UTC.
    """

    row: TokenRow
    recorded: int
    now: datetime


@dataclass(frozen=True, slots=True)
class TokenName:
    """What is known about a name: its token, if there is one, and the rest as in `FoundToken`."""

    row: TokenRow | None
    recorded: int
    now: datetime


@dataclass(frozen=True, slots=True)
class UnprovenToken:
    """A token without a MAC.

    Attributes:
        created_on_record: whether the audit log has a row about its creation.
    """

    found: FoundToken
    created_on_record: bool


_COLUMNS = (
    tokens.c.name,
    func.coalesce(tokens.c.version, 0).label("version"),
    tokens.c.token_sha256,
    tokens.c.previous_token_sha256,
    tokens.c.previous_expires_at,
    tokens.c.scopes,
    tokens.c.private_key_reads_per_minute,
    tokens.c.signatures_per_minute,
    tokens.c.created_at,
    tokens.c.expires_at,
    tokens.c.revoked_at,
    tokens.c.policy,
    tokens.c.last_used_at,
    tokens.c.mac_key_id,
    tokens.c.mac,
)
_NOW = func.clock_timestamp().label("now")
# As in the index `ix_audit_events_tokens`: names hold no spaces, and the version comes next.
_OF_TOKENS = text("starts_with(audit_events.action, 'token.')")
_RECORDED_NAME = func.split_part(audit_events.c.detail, text("' '"), text("1"))
_VERSION = cast(func.substring(audit_events.c.detail, r"^\S+ (\d{1,15})(?:[ :]|$)"), BigInteger)


def _recorded_version(name: Any) -> Any:
    highest = select(func.max(_VERSION)).where(_OF_TOKENS, collate(name, "default") == _RECORDED_NAME)
    return func.coalesce(highest.scalar_subquery(), 0).label("recorded")


def _find() -> Select[Any]:
    digest = bindparam("digest", type_=tokens.c.token_sha256.type)
    is_it = or_(tokens.c.token_sha256 == digest, tokens.c.previous_token_sha256 == digest)
    return select(*_COLUMNS, _recorded_version(tokens.c.name), _NOW).where(is_it).limit(1)


def _find_name() -> Select[Any]:
    name = bindparam("name", type_=tokens.c.name.type)
    one = select(literal(1).label("one")).subquery()
    named = one.outerjoin(tokens, tokens.c.name == name)
    return select(*_COLUMNS, _recorded_version(name), _NOW).select_from(named)


def _find_unproven() -> Select[Any]:
    # Before versions, a colon followed the name.
    name = collate(tokens.c.name, "default")
    created = (
        select(audit_events.c.id)
        .where(
            _OF_TOKENS,
            audit_events.c.action == TOKEN_CREATED,
            audit_events.c.outcome == "ok",
            or_(name == _RECORDED_NAME, name + ":" == _RECORDED_NAME),
        )
        .exists()
    )
    return (
        select(*_COLUMNS, _recorded_version(tokens.c.name), _NOW, created.label("created_on_record"))
        .where(tokens.c.mac.is_(None))
        .order_by(tokens.c.name)
    )


_FIND = _find()
_FIND_NAME = _find_name()
_FIND_UNPROVEN = _find_unproven()
_ALL = select(*_COLUMNS, _recorded_version(tokens.c.name), _NOW).order_by(tokens.c.name)


class TokenStore:
    """Statements on `tokens`.

    Every method raises DatabaseUnavailable when PostgreSQL does not answer, and IntegrityFailure for a value
    that this service cannot have written.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, digest: bytes) -> FoundToken | None:
        """The token that has this SHA-256 digest, or had it before its last rotation, valid or not."""
        async with self._database.connection() as connection:
            row = (await connection.execute(_FIND, {"digest": digest})).one_or_none()
        return None if row is None else _found_token(row)

    async def look_up(self, name: str) -> TokenName:
        """What is known about a name."""
        async with self._database.connection() as connection:
            row = (await connection.execute(_FIND_NAME, {"name": name})).one()
        return TokenName(None if row.name is None else _token(row), row.recorded, row.now)

    async def list_all(self) -> list[FoundToken]:
        """All tokens by name, including expired and revoked ones."""
        async with self._database.connection() as connection:
            return [_found_token(row) for row in await connection.execute(_ALL)]

    async def unproven(self) -> list[UnprovenToken]:
        """All tokens without a MAC by name, including expired and revoked ones."""
        async with self._database.connection() as connection:
            rows = (await connection.execute(_FIND_UNPROVEN)).all()
        return [UnprovenToken(_found_token(row), row.created_on_record) for row in rows]

    async def digests(self, *, limit: int) -> frozenset[bytes]:
        """The digests of up to `limit` tokens that are not revoked, with those before their last rotation."""
        statement = (
            select(tokens.c.token_sha256, tokens.c.previous_token_sha256)
            .where(tokens.c.revoked_at.is_(None))
            .limit(limit)
        )
        async with self._database.connection() as connection:
            rows = await connection.execute(statement)
            return frozenset(digest for row in rows for digest in row if digest is not None)

    async def mark_used(self, names: Sequence[str]) -> None:
        """Set these tokens' time of last use to now."""
        statement = (
            update(tokens).where(tokens.c.name.in_(sorted(names))).values(last_used_at=func.clock_timestamp())
        )
        async with self._database.connection() as connection:
            await connection.execute(statement)

    async def revoke(self, name: str) -> int | None:
        """Revoke a token for ever, and remove its MAC, so that its row grants nothing from now on.

        Returns:
            Its version; None if no token has this name.
        """
        async with self._database.connection() as connection:
            version: int | None = (await connection.execute(select(func.revoke_token(name)))).scalar_one()
        return version


def _found_token(row: Row[*tuple[Any, ...]]) -> FoundToken:
    return FoundToken(_token(row), row.recorded, row.now)


def _token(row: Row[*tuple[Any, ...]]) -> TokenRow:
    return TokenRow(
        name=row.name,
        version=row.version,
        token_sha256=row.token_sha256,
        previous_token_sha256=row.previous_token_sha256,
        previous_expires_at=row.previous_expires_at,
        scopes=tuple(row.scopes),
        private_key_reads_per_minute=row.private_key_reads_per_minute,
        signatures_per_minute=row.signatures_per_minute,
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        policy=row.policy,
        last_used_at=row.last_used_at,
        mac=RowMac.of_columns(row.mac_key_id, row.mac),
    )
