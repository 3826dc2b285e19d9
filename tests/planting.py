"""Rows put into the table past the service, with a MAC as the service makes it: for what lies behind it."""

from typing import Any

from event_loop import complete, entered
from kms_service.bootstrap import Services
from kms_service.crypto.row_mac import RowLabel, wallet_fields
from kms_service.store.postgres.tables import wallets

ANY_PUBLIC_KEY = "0x02" + "ab" * 32


def with_mac(services: Services, row: dict[str, Any]) -> dict[str, Any]:
    """The row with a MAC that holds, whatever else is wrong with it."""
    row = {"compressed_public_key": ANY_PUBLIC_KEY, **row}
    ring = complete(services.row_macs.keyring())
    fields = wallet_fields(row["user_id"], row["wallet_address"], row["compressed_public_key"])
    mac = ring.make(RowLabel.WALLET, fields)
    return {**row, "wallet_mac": mac.mac, "wallet_mac_key_id": mac.key_id}


def plant(services: Services, *rows: dict[str, Any]) -> None:
    """Make the table hold exactly these rows."""
    with entered(services.database.engine.begin()) as connection:
        complete(connection.execute(wallets.delete()))
        complete(connection.execute(wallets.insert(), list(rows)))
