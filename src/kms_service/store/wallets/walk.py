"""Walking over all wallets in order of user id, a stretch at a time, at the same cost anywhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, func, select, text

from kms_service.crypto.material import WrappedDek
from kms_service.store.postgres.database import Database
from kms_service.store.postgres.tables import wallets
from kms_service.store.wallets.find import SealedWallet

STRETCH_WALLETS = 500
STATEMENT_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which wallets a walk stops at.

    Attributes:
        kms_key_id: only those under this key ARN.
        since: only those made, or last wrapped, at this time or later.
        share: of those a random share, above 0 and up to 1.
    """

    kms_key_id: str | None = None
    since: datetime | None = None
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class Stretch:
    """Up to 500 wallets passed, those of them that were chosen, and the last user id passed."""

    passed: int
    chosen: Sequence[SealedWallet]
    last_user_id: str


class WalletWalk:
    """Statements of a walk. Every method raises DatabaseUnavailable when PostgreSQL does not answer."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def count(self, chosen: Chosen, after: str) -> int:
        """Wallets that a walk passes from `after` on. Reads an index, once."""
        statement = select(func.count()).select_from(wallets).where(*_passed(chosen, after))
        async with self._database.transaction(STATEMENT_SECONDS + 1) as connection:
            await connection.execute(text(f"SET LOCAL statement_timeout = '{STATEMENT_SECONDS}s'"))
            return int((await connection.execute(statement)).scalar_one())

    async def next(self, chosen: Chosen, after: str) -> Stretch | None:
        """The next stretch behind `after`; None at the end."""
        stretch = (
            select(wallets.c.user_id)
            .where(*_passed(chosen, after))
            .order_by(wallets.c.user_id)
            .limit(STRETCH_WALLETS)
            .subquery()
        )
        bounds = select(func.count(), func.max(stretch.c.user_id))
        async with self._database.connection() as connection:
            passed, last = (await connection.execute(bounds)).one()
            if not passed:
                return None
            statement = _SEALED.where(*_passed(chosen, after), wallets.c.user_id <= last, *_chosen(chosen))
            rows = (await connection.execute(statement.order_by(wallets.c.user_id))).all()
        sealed = [SealedWallet(row[0], row[1], row[2], WrappedDek(row[3], row[4], row[5])) for row in rows]
        return Stretch(passed, sealed, last)


_SEALED = select(
    wallets.c.user_id,
    wallets.c.wallet_address,
    wallets.c.encrypted_seed,
    wallets.c.kms_key_id,
    wallets.c.kms_region,
    wallets.c.encrypted_dek,
)


def _passed(chosen: Chosen, after: str) -> list[ColumnElement[bool]]:
    passed: list[ColumnElement[bool]] = [wallets.c.user_id > after]
    if chosen.kms_key_id is not None:
        passed.append(wallets.c.kms_key_id == chosen.kms_key_id)
    return passed


def _chosen(chosen: Chosen) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if chosen.since is not None:
        conditions.append(func.coalesce(wallets.c.dek_wrapped_at, wallets.c.created_at) >= chosen.since)
    if chosen.share < 1:
        conditions.append(func.random() < chosen.share)
    return conditions
