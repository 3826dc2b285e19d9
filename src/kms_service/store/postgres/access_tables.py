"""The tables of what operators allow: tokens and their uses, the seal, canaries; `tables` holds all."""

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
    # A rotated token's former digest, good until the overlap ends.
    Column("previous_token_sha256", LargeBinary, unique=True),
    Column("previous_expires_at", DateTime(timezone=True)),
    Column("last_used_at", DateTime(timezone=True)),
    # Its newest version bounds the token; null is unbounded.
    Column("policy", String(64, collation="C")),
    # One more with every change; the audit log tells the last one. Null, as the MAC, in rows of the version
    # before them: these say nothing until a person has confirmed them.
    Column("version", BigInteger),
    Column("mac", LargeBinary),
    Column("mac_key_id", Uuid),
)

token_uses = Table(
    "token_uses",
    metadata,
    Column("token_name", String(64, collation="C"), ForeignKey("tokens.name"), primary_key=True),
    Column("kind", String(32), primary_key=True),
    # `counts[1]` are the uses in this second of the Unix epoch, `counts[2]` those in the one before, …
    Column("second", BigInteger, nullable=False),
    Column("counts", ARRAY(Integer), nullable=False),
)

# Only ever inserted: the newest row tells whether the service is sealed, the others when it was, and why.
# Without a right MAC it says that it is sealed.
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
