"""Inserts a wallet's row by the same call as its audit row: neither exists without the other."""

from datetime import datetime

from sqlalchemy import Select, bindparam, func, select

from kms_service.store.audit.rows import WRITER_KEY, RecordedChange, bind, bind_event
from kms_service.store.postgres.prepared import PreparedStatement
from kms_service.store.postgres.tables import wallets
from kms_service.store.wallets.find import EncryptedWallet


def wallet_creation(wallet: EncryptedWallet, made_at: datetime | None) -> RecordedChange:
    """The insertion of a wallet, the only one into `wallets`.

    It is not made if the user has a wallet already, or another user has this address.

    Args:
        wallet: what is stored.
        made_at: when the wallet was made; None for now.
    """
    mac = wallet.mac
    return RecordedChange(
        _RECORD_WALLET,
        {
            "user_id": wallet.user_id,
            "wallet_address": wallet.wallet_address,
            "kms_key_id": wallet.dek.key_arn,
            "compressed_public_key": wallet.compressed_public_key,
            "encrypted_seed": wallet.encrypted_seed,
            "encrypted_dek": wallet.dek.blob,
            "kms_region": wallet.dek.region,
            "wallet_mac": None if mac is None else mac.mac,
            "wallet_mac_key_id": None if mac is None else mac.key_id,
            "made_at": made_at,
        },
    )


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
    return select(columns.c.created_at.label("at"), columns.c.now)


_RECORD_WALLET = PreparedStatement(_record_wallet())
