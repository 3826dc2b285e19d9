"""Inserts an unsealing by the same call as its audit row: neither exists without the other."""

from datetime import datetime

from sqlalchemy import Select, bindparam, func, select

from kms_service.crypto.material import RowMac
from kms_service.store.audit.rows import WRITER_KEY, RecordedChange, bind_event
from kms_service.store.postgres.prepared import PreparedStatement
from kms_service.store.postgres.tables import seal_changes


def unsealing(number: int, mac: RowMac) -> RecordedChange:
    """The change that opens the seal; it is not made if another change of the seal took this number."""
    return RecordedChange(_OPEN_SEAL, {"number": number, "seal_mac": mac.mac, "seal_mac_key_id": mac.key_id})


def _open_seal() -> Select[tuple[datetime, datetime]]:
    number = bindparam("number", type_=seal_changes.c.number.type)
    mac = bindparam("seal_mac", type_=seal_changes.c.mac.type)
    mac_key_id = bindparam("seal_mac_key_id", type_=seal_changes.c.mac_key_id.type)
    opened = func.open_seal(WRITER_KEY, *bind_event(), number, mac, mac_key_id).table_valued("at", "now")
    return select(opened.c.at, opened.c.now)


_OPEN_SEAL = PreparedStatement(_open_seal())
