"""Inserts or changes a token's row by the same call as its audit row: neither exists without the other."""

from datetime import datetime

from sqlalchemy import Select, bindparam, func, select

from kms_service.store.access.tokens import TokenRow
from kms_service.store.audit.rows import WRITER_KEY, RecordedChange, bind, bind_event
from kms_service.store.postgres.prepared import PreparedStatement
from kms_service.store.postgres.tables import tokens

# In the order of the parameters of `record_token`.
_STORED = (
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


def token_change(token: TokenRow, was: int | None) -> RecordedChange:
    """The insertion of a new token, or the change of one.

    It is not made if the name is taken, or the token has another version by now.

    Args:
        token: what is stored, with its MAC.
        was: the version that it replaces; None for a new token.
    """
    mac = token.mac
    return RecordedChange(
        _RECORD_TOKEN,
        {
            **{name: getattr(token, name) for name in _STORED},
            "scopes": list(token.scopes),
            "was": was,
            "token_mac": None if mac is None else mac.mac,
            "token_mac_key_id": None if mac is None else mac.key_id,
        },
    )


def _record_token() -> Select[tuple[datetime, datetime]]:
    was = bindparam("was", type_=tokens.c.version.type)
    mac = bindparam("token_mac", type_=tokens.c.mac.type)
    mac_key_id = bindparam("token_mac_key_id", type_=tokens.c.mac_key_id.type)
    changed = func.record_token(WRITER_KEY, *bind_event(), was, *bind(tokens, *_STORED), mac, mac_key_id)
    now = changed.table_valued("now").c.now
    return select(now.label("at"), now)


_RECORD_TOKEN = PreparedStatement(_record_token())
