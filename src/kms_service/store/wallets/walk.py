"""Walks over all wallets in order of user id, a stretch at a time; every stretch costs the same."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, exists, func, select, text, update

from kms_service.store.postgres.database import Database
from kms_service.store.postgres.tables import audit_events, wallets
from kms_service.store.wallets.find import ENCRYPTED, EncryptedWallet, read_encrypted

STRETCH_WALLETS = 500
STATEMENT_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which wallets a walk returns.

    Attributes:
        kms_key_id: only those under this key ARN; None for any.
        since: only those made, or last rewrapped, at this time or later; None for any.
        share: a random share of those, above 0 and up to 1.
    """

    kms_key_id: str | None = None
    since: datetime | None = None
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class Stretch:
    """One step of a walk: how many wallets (up to 500) it passed, those chosen, and the last user id."""

    passed: int
    chosen: Sequence[EncryptedWallet]
    last_user_id: str


# The actions of the audit rows that wallets are inserted with.
_BORN = ("wallet.create", "wallet.import", "wallet.adopt")


class WalletWalk:
    """The statements of a walk. Every method raises DatabaseUnavailable when PostgreSQL does not answer."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def count(self, chosen: Chosen, after: str) -> int:
        """How many wallets a walk passes after user `after`. Reads an index once."""
        statement = select(func.count()).select_from(wallets).where(*_position_conditions(chosen, after))
        async with self._database.transaction(STATEMENT_SECONDS + 1) as connection:
            await connection.execute(text(f"SET LOCAL statement_timeout = '{STATEMENT_SECONDS}s'"))
            return int((await connection.execute(statement)).scalar_one())

    async def next(self, chosen: Chosen, after: str) -> Stretch | None:
        """The next stretch after user `after`; None at the end."""
        stretch = (
            select(wallets.c.user_id)
            .where(*_position_conditions(chosen, after))
            .order_by(wallets.c.user_id)
            .limit(STRETCH_WALLETS)
            .subquery()
        )
        bounds = select(func.count(), func.max(stretch.c.user_id))
        async with self._database.connection() as connection:
            passed, last = (await connection.execute(bounds)).one()
            if not passed:
                return None
            statement = _ENCRYPTED.where(
                *_position_conditions(chosen, after), wallets.c.user_id <= last, *_choice_conditions(chosen)
            )
            rows = (await connection.execute(statement.order_by(wallets.c.user_id))).all()
        return Stretch(passed, [read_encrypted(row) for row in rows], last)

    async def find_unrecorded(self, after: str, last: str | None) -> Sequence[str]:
        """Users after `after` up to `last` whose wallet has no audit row of its creation."""
        told = exists().where(
            *_birth(wallets.c.user_id), audit_events.c.wallet_address == wallets.c.wallet_address
        )
        return await self._users(
            select(wallets.c.user_id).where(*_within(wallets.c.user_id, after, last), ~told)
        )

    async def find_vanished(self, after: str, last: str | None) -> Sequence[str]:
        """Users after `after` up to `last` for whom an audit row records a wallet that is missing."""
        kept = exists().where(
            wallets.c.user_id == audit_events.c.user_id,
            wallets.c.wallet_address == audit_events.c.wallet_address,
        )
        user_id = audit_events.c.user_id
        statement = select(user_id).where(*_within(user_id, after, last), *_birth(user_id), ~kept)
        return await self._users(statement.distinct())

    async def authenticate(self, wallet: EncryptedWallet) -> bool:
        """Store a wallet's public key and MAC; False if its row is no longer the one that was opened.

        Raises:
            ValueError: the wallet has no MAC.
        """
        if wallet.mac is None:
            raise ValueError("a row is authenticated with a MAC")
        statement = (
            update(wallets)
            .values(
                compressed_public_key=wallet.compressed_public_key,
                wallet_mac=wallet.mac.mac,
                wallet_mac_key_id=wallet.mac.key_id,
            )
            .where(
                wallets.c.user_id == wallet.user_id,
                wallets.c.wallet_address == wallet.wallet_address,
                wallets.c.encrypted_seed == wallet.encrypted_seed,
            )
            .returning(wallets.c.user_id)
        )
        async with self._database.connection() as connection:
            return (await connection.execute(statement)).one_or_none() is not None

    async def _users(self, statement: Select[Any]) -> Sequence[str]:
        async with self._database.transaction(STATEMENT_SECONDS + 1) as connection:
            await connection.execute(text(f"SET LOCAL statement_timeout = '{STATEMENT_SECONDS}s'"))
            return list((await connection.execute(statement)).scalars())


_ENCRYPTED = select(*ENCRYPTED)


def _within(user_id: ColumnElement[Any], after: str, last: str | None) -> list[ColumnElement[bool]]:
    return [user_id > after] if last is None else [user_id > after, user_id <= last]


def _birth(user_id: ColumnElement[Any]) -> list[ColumnElement[bool]]:
    return [
        audit_events.c.user_id == user_id,
        audit_events.c.action.in_(_BORN),
        audit_events.c.outcome == "ok",
    ]


def _position_conditions(chosen: Chosen, after: str) -> list[ColumnElement[bool]]:
    passed: list[ColumnElement[bool]] = [wallets.c.user_id > after]
    if chosen.kms_key_id is not None:
        passed.append(wallets.c.kms_key_id == chosen.kms_key_id)
    return passed


def _choice_conditions(chosen: Chosen) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if chosen.since is not None:
        conditions.append(func.coalesce(wallets.c.dek_wrapped_at, wallets.c.created_at) >= chosen.since)
    if chosen.share < 1:
        conditions.append(func.random() < chosen.share)
    return conditions
