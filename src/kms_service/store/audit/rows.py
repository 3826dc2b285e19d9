"""The `audit_chains` and `audit_events` tables, written by the database's own functions, never changed.

The functions give out chain numbers and places, and let only who opened a chain write to it: a role that may
call them can stop nobody else. A change of a token and an unsealing go in by the same call as their audit
row, so that neither exists without the other; so does a wallet (`store.wallets.creation`).
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BindParameter, LargeBinary, Select, Table, bindparam, func, select

from kms_service.crypto.material import RowMac, WrappedDek
from kms_service.store.access.tokens import TokenRow
from kms_service.store.audit.events import COLUMNS, AuditRow
from kms_service.store.postgres.database import Database
from kms_service.store.postgres.prepared import PreparedStatement
from kms_service.store.postgres.tables import audit_chains, audit_events, seal_changes, tokens


class PlaceTaken(Exception):
    """A row that this chain's writer did not write lies in its next place; nothing was written."""


@dataclass(frozen=True, slots=True)
class AuditChainRow:
    """A chain: its place among all, who writes it, and its MAC key under KMS.

    `number` is None for chains of the version before numbers.
    """

    audit_chain_id: UUID
    number: int | None
    opened_at: datetime
    process: str
    mac_key: WrappedDek


class AuditStore:
    """Calls of the functions that write the audit tables.

    `writer_key` is a secret of the process that opened the chain; the table holds its SHA-256. Every method
    raises DatabaseUnavailable when PostgreSQL does not answer.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def next_chain(self) -> tuple[int, datetime]:
        """The number that the next chain may take, and the database's time."""
        async with self._database.connection() as connection:
            number, now = (await connection.execute(_NEXT_CHAIN)).one()
        return number, now

    async def open_chain(self, chain: AuditChainRow, first: AuditRow, writer_key: bytes) -> bool:
        """Insert a chain and its first row together; False when another took its number."""
        parameters = {
            **event_parameters(first, writer_key),
            "number": chain.number,
            "opened_at": chain.opened_at,
            "process": chain.process,
            "wrapped_mac_key": chain.mac_key.blob,
            "kms_region": chain.mac_key.region,
        }
        async with self._database.connection() as connection:
            return (await connection.execute(_OPEN_CHAIN, parameters)).scalar_one() is not None

    async def append(self, row: AuditRow, writer_key: bytes) -> datetime:
        """Insert one row, committed on return; answers the database's time.

        Raises:
            PlaceTaken: a foreign row lies in its place.
        """
        answer = await self._database.row(_APPEND, event_parameters(row, writer_key))
        if answer is None or answer.now is None:
            raise PlaceTaken
        at: datetime = answer.now
        return at

    async def append_with_token(
        self, row: AuditRow, writer_key: bytes, token: TokenRow, was: int | None
    ) -> datetime | None:
        """Insert or change a token and insert its audit row together, committed on return.

        Args:
            row: the audit row.
            writer_key: of the row's chain.
            token: what is stored, with its MAC.
            was: the version that it takes the place of; None for a new token.

        Returns:
            The database's time; None when the name is taken, or the token has another version by now: nothing
            was written.

        Raises:
            PlaceTaken: a foreign row lies in the audit row's place.
            DatabaseRefused: the login may not change tokens.
        """
        mac = token.mac
        stored = {name: getattr(token, name) for name in _TOKEN}
        parameters = {
            **event_parameters(row, writer_key),
            **stored,
            "scopes": list(token.scopes),
            "was": was,
            "token_mac": None if mac is None else mac.mac,
            "token_mac_key_id": None if mac is None else mac.key_id,
        }
        async with self._database.connection() as connection:
            answer = (await connection.execute(_APPEND_WITH_TOKEN, parameters)).one_or_none()
        if answer is not None and answer.now is None:
            raise PlaceTaken
        return None if answer is None else answer.now

    async def append_with_unsealing(
        self, row: AuditRow, writer_key: bytes, number: int, mac: RowMac
    ) -> tuple[datetime, datetime] | None:
        """Insert an unsealing and its audit row together, committed on return.

        Returns:
            The time of the unsealing, and the database's time; None when another change of the seal took this
            number, and then nothing was written.

        Raises:
            PlaceTaken: a foreign row lies in the audit row's place.
            DatabaseRefused: the login may not unseal.
        """
        parameters = {
            **event_parameters(row, writer_key),
            "number": number,
            "seal_mac": mac.mac,
            "seal_mac_key_id": mac.key_id,
        }
        async with self._database.connection() as connection:
            return both_times((await connection.execute(_APPEND_WITH_UNSEALING, parameters)).one_or_none())


def both_times(answer: Any) -> tuple[datetime, datetime] | None:
    """The time of what was inserted and the database's, of a function that inserts it with its audit row.

    Raises:
        PlaceTaken: a foreign row lies in the audit row's place.
    """
    if answer is None:
        return None
    if answer[1] is None:
        raise PlaceTaken
    return answer[0], answer[1]


def event_parameters(row: AuditRow, writer_key: bytes) -> dict[str, Any]:
    """The values of `WRITER_KEY` and `bind_event()`."""
    return {"writer_key": writer_key, **row.columns()}


def bind_event() -> list[BindParameter[Any]]:
    """An audit row's parameters, in the order in which the database's functions take them."""
    return bind(audit_events, *COLUMNS)


def bind(table: Table, *names: str) -> list[BindParameter[Any]]:
    """Parameters with the names and types of these columns."""
    # Typed, so that PostgreSQL finds the one function whatever a value looks like.
    return [bindparam(name, type_=table.c[name].type) for name in names]


def _open_chain() -> Select[Any]:
    chain = bind(audit_chains, "number", "opened_at", "process", "wrapped_mac_key", "kms_region")
    return select(func.open_audit_chain(WRITER_KEY, *chain, *bind_event()))


def _append_with_token() -> Select[Any]:
    was = bindparam("was", type_=tokens.c.version.type)
    mac = bindparam("token_mac", type_=tokens.c.mac.type)
    mac_key_id = bindparam("token_mac_key_id", type_=tokens.c.mac_key_id.type)
    event, stored = bind_event(), bind(tokens, *_TOKEN)
    made = func.record_token(WRITER_KEY, *event, was, *stored, mac, mac_key_id).table_valued("now")
    return select(made.c.now)


def _append_with_unsealing() -> Select[Any]:
    number = bindparam("number", type_=seal_changes.c.number.type)
    mac = bindparam("seal_mac", type_=seal_changes.c.mac.type)
    mac_key_id = bindparam("seal_mac_key_id", type_=seal_changes.c.mac_key_id.type)
    event = bind_event()
    made = func.open_seal(WRITER_KEY, *event, number, mac, mac_key_id).table_valued("at", "now")
    return select(made.c.at, made.c.now)


# Built once: building a statement costs more than running it from SQLAlchemy's compiled cache.
# In the order of the parameters of `record_token`.
_TOKEN = (
    "name",
    "version",
    "token_sha256",
    "previous_token_sha256",
    "previous_expires_at",
    "scopes",
    "private_key_reads_per_minute",
    "signatures_per_minute",
    "created_at",
    "expires_at",
    "revoked_at",
    "policy",
)
WRITER_KEY = bindparam("writer_key", type_=LargeBinary())
"""The parameter that proves who opened the chain."""
_NEXT = func.next_audit_chain().table_valued("number", "now")
_NEXT_CHAIN = select(_NEXT.c.number, _NEXT.c.now)
_OPEN_CHAIN = _open_chain()
_APPEND = PreparedStatement(select(func.append_audit_event(WRITER_KEY, *bind_event()).label("now")))
_APPEND_WITH_TOKEN = _append_with_token()
_APPEND_WITH_UNSEALING = _append_with_unsealing()
