"""A wallet's row, inserted by the same call as its audit row: neither exists without the other."""

from datetime import datetime

from sqlalchemy import Select, bindparam, func, select

from kms_service.store.audit.events import AuditRow
from kms_service.store.audit.rows import WRITER_KEY, bind, bind_event, both_times, event_parameters
from kms_service.store.postgres.database import Database
from kms_service.store.postgres.prepared import PreparedStatement
from kms_service.store.postgres.tables import wallets
from kms_service.store.wallets.find import EncryptedWallet


class WalletCreationStore:
    """The one statement that inserts into `wallets`.

    It raises DatabaseUnavailable when PostgreSQL does not answer.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def insert(
        self, row: AuditRow, writer_key: bytes, wallet: EncryptedWallet, made_at: datetime | None
    ) -> tuple[datetime, datetime] | None:
        """Insert a wallet and its audit row together, committed on return.

        Args:
            row: the audit row.
            writer_key: of the row's chain; a secret of the process that opened it.
            wallet: what is stored.
            made_at: when it was made; None for now.

        Returns:
            The wallet's creation time and the database's time; None when the user already had a wallet, or
            another user has this address, and then neither row exists.

        Raises:
            PlaceTaken: a foreign row lies in the audit row's place.
        """
        parameters = {
            **event_parameters(row, writer_key),
            "user_id": wallet.user_id,
            "wallet_address": wallet.wallet_address,
            "kms_key_id": wallet.dek.key_arn,
            "compressed_public_key": wallet.compressed_public_key,
            "encrypted_seed": wallet.encrypted_seed,
            "encrypted_dek": wallet.dek.blob,
            "kms_region": wallet.dek.region,
            "wallet_mac": None if wallet.mac is None else wallet.mac.mac,
            "wallet_mac_key_id": None if wallet.mac is None else wallet.mac.key_id,
            "made_at": made_at,
        }
        return both_times(await self._database.row(_RECORD_WALLET, parameters))


def _record_wallet() -> Select[tuple[datetime, datetime]]:
    stored = bind(
        wallets,
        "compressed_public_key",
        "encrypted_seed",
        "encrypted_dek",
        "kms_region",
        "wallet_mac",
        "wallet_mac_key_id",
    )
    made_at = bindparam("made_at", type_=wallets.c.created_at.type)
    made = func.record_wallet(WRITER_KEY, *bind_event(), *stored, made_at)
    columns = made.table_valued("created_at", "now")
    return select(columns.c.created_at, columns.c.now)


_RECORD_WALLET = PreparedStatement(_record_wallet())
