"""Puts rows into the tables without the service, but with valid MACs, to test the checks behind the MAC."""

from dataclasses import replace
from datetime import datetime
from typing import Any

from event_loop import complete, enter
from kms_service.bootstrap import Services
from kms_service.crypto.row_mac import RowLabel, wallet_fields
from kms_service.service.access.records import record
from kms_service.service.access.records import with_mac as token_with_mac
from kms_service.service.audit.log import Event
from kms_service.store.access.token_changes import token_change
from kms_service.store.access.tokens import TokenStore
from kms_service.store.postgres.tables import wallets
from wiring import TESTER

ANY_PUBLIC_KEY = "0x02" + "ab" * 32


def with_mac(services: Services, row: dict[str, Any]) -> dict[str, Any]:
    """The row with a valid MAC, whatever else is wrong with it."""
    row = {"compressed_public_key": ANY_PUBLIC_KEY, **row}
    ring = complete(services.row_macs.keyring())
    fields = wallet_fields(row["user_id"], row["wallet_address"], row["compressed_public_key"])
    mac = ring.make(RowLabel.WALLET, fields)
    return {**row, "wallet_mac": mac.mac, "wallet_mac_key_id": mac.key_id}


def plant(services: Services, *rows: dict[str, Any]) -> None:
    """Make the table hold exactly these rows."""
    with enter(services.database.engine.begin()) as connection:
        complete(connection.execute(wallets.delete()))
        complete(connection.execute(wallets.insert(), list(rows)))


def change_token(operator: Services, name: str, **changes: Any) -> None:
    """Change a token's row as an operator's command does, such as to a state that only time brings about.

    If the value of a column is a function, it is called with the database's time.
    """
    known = complete(TokenStore(operator.database).look_up(name))
    assert known.row is not None
    new = {column: to(known.now) if callable(to) else to for column, to in changes.items()}
    changed = replace(known.row, version=known.row.version + 1, **new)
    changed = token_with_mac(changed, complete(operator.row_macs.keyring()))
    event = Event("token.rotate", detail=record(changed))
    assert complete(operator.audit.record_with(TESTER, event, token_change(changed, known.row.version)))


def now(at: datetime) -> datetime:
    """The database's time, for `change_token`."""
    return at
