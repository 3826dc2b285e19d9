"""The `audit_chains` and `audit_events` tables: inserted and read, never changed.

A wallet row is inserted by the same statement as its audit row, so that neither exists without the other.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Select, func, literal, select, true
from sqlalchemy.dialects.postgresql import insert

from kms_service.material import WrappedDek
from kms_service.store.database import Database
from kms_service.store.tables import audit_chains, audit_events, wallets
from kms_service.store.wallets import SealedWallet


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


class AuditStore:
    """Statements on the audit tables.

    Every method raises DatabaseUnavailable when PostgreSQL does not answer.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def open_chain(self, chain_id: UUID, process: str, mac_key: WrappedDek) -> datetime:
        """Record a new chain and its wrapped MAC key; answers the database's time."""
        statement = (
            insert(audit_chains)
            .values(
                chain_id=chain_id,
                process=process,
                wrapped_mac_key=mac_key.blob,
                kms_key_id=mac_key.key_arn,
                kms_region=mac_key.region,
            )
            .returning(audit_chains.c.opened_at)
        )
        with self._database.connection() as connection:
            at: datetime = connection.execute(statement).scalar_one()
        return at

    def append(self, row: AuditRow) -> datetime:
        """Insert one row, committed on return; answers the database's time."""
        statement = insert(audit_events).values(asdict(row)).returning(func.clock_timestamp())
        with self._database.connection() as connection:
            at: datetime = connection.execute(statement).scalar_one()
        return at

    def append_with_wallet(self, row: AuditRow, wallet: SealedWallet) -> tuple[datetime, datetime] | None:
        """Insert a wallet and its audit row in one statement, committed on return.

        Returns:
            The wallet's creation time and the database's time; None when the user already had a wallet, and
            then neither row exists.
        """
        with self._database.connection() as connection:
            result = connection.execute(_insert_both(asdict(row), wallet)).one_or_none()
        return None if result is None else (result.created_at, result.now)


def _insert_both(event: Mapping[str, Any], wallet: SealedWallet) -> Select[Any]:
    made = (
        insert(wallets)
        .values(
            user_id=wallet.user_id,
            wallet_address=wallet.wallet_address,
            encrypted_seed=wallet.encrypted_seed,
            encrypted_dek=wallet.dek.blob,
            kms_key_id=wallet.dek.key_arn,
            kms_region=wallet.dek.region,
        )
        .on_conflict_do_nothing(index_elements=[wallets.c.user_id])
        .returning(wallets.c.created_at)
        .cte("made")
    )
    values = [literal(value, audit_events.c[name].type).label(name) for name, value in event.items()]
    recorded = (
        insert(audit_events)
        .from_select(list(event), select(*values).select_from(made))
        .returning(func.clock_timestamp().label("now"))
        .cte("recorded")
    )
    # Both have one row, or neither has.
    return select(made.c.created_at, recorded.c.now).select_from(made.join(recorded, true()))
