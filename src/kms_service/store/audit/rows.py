"""The `audit_chains` and `audit_events` tables: inserted and read, never changed.

A wallet row is inserted by the same statement as its audit row, so that neither exists without the other.
"""

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CTE, DateTime, Select, bindparam, func, select, true
from sqlalchemy.dialects.postgresql import insert

from kms_service.crypto.material import WrappedDek
from kms_service.store.postgres.database import Database
from kms_service.store.postgres.prepared import PreparedStatement
from kms_service.store.postgres.tables import audit_chains, audit_events, wallets
from kms_service.store.wallets.find import SealedWallet


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One link of a chain, complete with its MAC; `at` is UTC."""

    chain_id: UUID
    seq: int
    at: datetime
    actor: str
    action: str
    outcome: str
    user_id: str | None
    wallet_address: str | None
    request_id: str | None
    kms_key_id: str | None
    kms_request_id: str | None
    detail: str | None
    mac: bytes


@dataclass(frozen=True, slots=True)
class ChainRow:
    """A chain: its place among all, who writes it, and its MAC key under KMS.

    `number` is None for chains of the version before numbers.
    """

    chain_id: UUID
    number: int | None
    opened_at: datetime
    process: str
    mac_key: WrappedDek


class AuditStore:
    """Statements on the audit tables.

    Every method raises DatabaseUnavailable when PostgreSQL does not answer.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def next_chain(self) -> tuple[int, datetime]:
        """The number that the next chain may take, and the database's time."""
        statement = select(func.coalesce(func.max(audit_chains.c.number), 0) + 1, func.clock_timestamp())
        async with self._database.connection() as connection:
            number, now = (await connection.execute(statement)).one()
        return number, now

    async def open_chain(self, chain: ChainRow, first: AuditRow) -> bool:
        """Insert a chain and its first row in one statement; False when another took its number."""
        parameters = {
            **_columns(first),
            "number": chain.number,
            "opened_at": chain.opened_at,
            "process": chain.process,
            "wrapped_mac_key": chain.mac_key.blob,
            "kms_key_id": chain.mac_key.key_arn,
            "kms_region": chain.mac_key.region,
        }
        async with self._database.connection() as connection:
            return (await connection.execute(_OPEN_CHAIN, parameters)).one_or_none() is not None

    async def append(self, row: AuditRow) -> datetime:
        """Insert one row, committed on return; answers the database's time."""
        answer = await self._database.row(_APPEND, _columns(row))
        assert answer is not None  # noqa: S101 # an insert without a conflict clause answers its row or raises
        at: datetime = answer[0]
        return at

    async def append_with_wallet(
        self, row: AuditRow, wallet: SealedWallet, made_at: datetime | None
    ) -> tuple[datetime, datetime] | None:
        """Insert a wallet and its audit row in one statement, committed on return.

        Args:
            row: the audit row.
            wallet: what is stored.
            made_at: when it was made; None for now.

        Returns:
            The wallet's creation time and the database's time; None when the user already had a wallet, or
            another user has this address, and then neither row exists.
        """
        answer = await self._database.row(_APPEND_WITH_WALLET, _parameters(row, wallet, made_at))
        return None if answer is None else (answer[0], answer[1])


def _append_with_wallet() -> Select[Any]:
    made = (
        insert(wallets)
        .values(
            user_id=bindparam("user_id"),
            wallet_address=bindparam("wallet_address"),
            compressed_public_key=bindparam("compressed_public_key"),
            encrypted_seed=bindparam("encrypted_seed"),
            encrypted_dek=bindparam("encrypted_dek"),
            kms_key_id=bindparam("kms_key_id"),
            kms_region=bindparam("kms_region"),
            wallet_mac=bindparam("wallet_mac"),
            wallet_mac_key_id=bindparam("wallet_mac_key_id"),
            # Kept where a wallet was made before it came here.
            created_at=func.coalesce(bindparam("made_at", type_=DateTime(timezone=True)), func.now()),
        )
        # Of any kind: the user has a wallet, or another user has this one.
        .on_conflict_do_nothing()
        .returning(wallets.c.created_at)
        .cte("made")
    )
    recorded = _recorded_with(made)
    # Both have one row, or neither has.
    return select(made.c.created_at, recorded.c.now).select_from(made.join(recorded, true()))


def _open_chain() -> Select[Any]:
    chain = ("chain_id", "number", "opened_at", "process", "wrapped_mac_key", "kms_key_id", "kms_region")
    made = (
        insert(audit_chains)
        .values({name: bindparam(name) for name in chain})
        .on_conflict_do_nothing(index_elements=[audit_chains.c.number])
        .returning(audit_chains.c.chain_id)
        .cte("made")
    )
    return select(_recorded_with(made).c.now)


def _recorded_with(made: CTE) -> CTE:
    """An audit row if, and only if, `made` made a row."""
    values = [bindparam(name, type_=audit_events.c[name].type) for name in _EVENT]
    return (
        insert(audit_events)
        .from_select(_EVENT, select(*values).select_from(made))
        .returning(func.clock_timestamp().label("now"))
        .cte("recorded")
    )


def _columns(row: AuditRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in _EVENT}


def _parameters(row: AuditRow, wallet: SealedWallet, made_at: datetime | None) -> dict[str, Any]:
    return {
        **_columns(row),
        "user_id": wallet.user_id,
        "wallet_address": wallet.wallet_address,
        "compressed_public_key": wallet.compressed_public_key,
        "encrypted_seed": wallet.encrypted_seed,
        "encrypted_dek": wallet.dek.blob,
        "kms_key_id": wallet.dek.key_arn,
        "kms_region": wallet.dek.region,
        "wallet_mac": None if wallet.mac is None else wallet.mac.mac,
        "wallet_mac_key_id": None if wallet.mac is None else wallet.mac.key_id,
        "made_at": made_at,
    }


# Built once: building a statement costs more than running it from SQLAlchemy's compiled cache.
_EVENT = [field.name for field in fields(AuditRow)]
_APPEND = PreparedStatement(
    insert(audit_events).values({name: bindparam(name) for name in _EVENT}).returning(func.clock_timestamp())
)
_APPEND_WITH_WALLET = PreparedStatement(_append_with_wallet())
_OPEN_CHAIN = _open_chain()
