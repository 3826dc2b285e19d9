"""The tables of tokens and their uses, of the seal and of canaries; `tables` has the others."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Integer,
    LargeBinary,
    String,
    Table,
    Uuid,
    func,
)
from sqlalchemy.dialects.postgresql import ARRAY

from kms_service.store.postgres.naming import metadata

tokens = Table(
    "tokens",
    metadata,
    Column("name", String(64, collation="C"), primary_key=True),
    Column("token_sha256", LargeBinary, nullable=False, unique=True),
    Column("scopes", ARRAY(String), nullable=False),
    Column("private_key_reads_per_minute", Integer),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("expires_at", DateTime(timezone=True)),
    Column("revoked_at", DateTime(timezone=True)),
    Column("signatures_per_minute", Integer),
    # The digest before the last rotation, good until the overlap ends.
    Column("previous_token_sha256", LargeBinary, unique=True),
    Column("previous_expires_at", DateTime(timezone=True)),
    Column("last_used_at", DateTime(timezone=True)),
    # The name of the policy whose newest version bounds the token; null is unbounded.
    Column("policy", String(64, collation="C")),
    # Grows by one with every change; the audit log has the last one. Null, like the MAC, in rows from before
    # these columns: such a row grants nothing until a person has confirmed it.
    Column("version", BigInteger),
    Column("mac", LargeBinary),
    Column("mac_key_id", Uuid),
)

token_uses = Table(
    "token_uses",
    metadata,
    Column("token_name", String(64, collation="C"), ForeignKey("tokens.name"), primary_key=True),
    Column("kind", String(32), primary_key=True),
    # `counts[1]` is the number of uses in this second of Unix time, `counts[2]` in the one before, …
    Column("second", BigInteger, nullable=False),
    Column("counts", ARRAY(Integer), nullable=False),
)

# Rows are only inserted: the newest says whether the service is sealed, the others when it was, and why. If
# the newest row's MAC does not hold, the service is sealed.
seal_changes = Table(
    "seal_changes",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("sealed", Boolean, nullable=False),
    Column("reason", String(500)),
    Column("actor", String(64), nullable=False),
    Column("at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Column("number", BigInteger, unique=True),
    Column("mac", LargeBinary),
    Column("mac_key_id", Uuid),
)

canary_wallets = Table(
    "canary_wallets",
    metadata,
    Column("user_id", String(128, collation="C"), primary_key=True),
    Column("added_by", String(64), nullable=False),
    Column("added_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)
