"""The tables as the code sees them; `migrations/` creates them, and a test compares the two."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    Float,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    UniqueConstraint,
    Uuid,
    func,
    text,
    true,
)
from sqlalchemy.dialects.postgresql import ARRAY

from kms_service.store.postgres.access_tables import canary_wallets as canary_wallets  # noqa: PLC0414 # all tables are here
from kms_service.store.postgres.access_tables import seal_changes as seal_changes  # noqa: PLC0414 # all tables are here
from kms_service.store.postgres.access_tables import token_uses as token_uses  # noqa: PLC0414 # all tables are here
from kms_service.store.postgres.access_tables import tokens as tokens  # noqa: PLC0414 # all tables are here
from kms_service.store.postgres.history_tables import (
    wallet_dek_history as wallet_dek_history,  # noqa: PLC0414 # all tables are here
)
from kms_service.store.postgres.naming import metadata as metadata  # noqa: PLC0414 # all tables are here
from kms_service.store.postgres.policy_tables import policies as policies  # noqa: PLC0414 # all tables are here
from kms_service.store.postgres.policy_tables import policy_windows as policy_windows  # noqa: PLC0414 # all tables are here

wallets = Table(
    "wallets",
    metadata,
    # Byte order: `userId` is compared exactly, and keyset pages need one order on every server.
    Column("user_id", String(128, collation="C"), primary_key=True),
    Column("wallet_address", String(42, collation="C"), nullable=False, unique=True),
    Column("encrypted_seed", LargeBinary, nullable=False),
    Column("encrypted_dek", LargeBinary, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("kms_key_id", String(255, collation="C"), nullable=False),
    Column("kms_region", String(50), nullable=False),
    # Both null until the DEK is rewrapped; until then `created_at` says when it was wrapped.
    Column("dek_wrapped_at", DateTime(timezone=True)),
    Column("kms_key_material_id", String(64)),
    # Null in rows from before these columns: their addresses are not given out before they get a MAC.
    Column("compressed_public_key", String(68, collation="C"), unique=True),
    Column("wallet_mac", LargeBinary),
    Column("wallet_mac_key_id", Uuid),
    Index("ix_wallets_kms_key_id_user_id", "kms_key_id", "user_id"),
)

# Keys of row MACs as KMS wrapped them; rows are only inserted. Any wrapping of a key will do.
row_mac_keys = Table(
    "row_mac_keys",
    metadata,
    # The first key is number 1, whichever process makes it. The last one makes new MACs, once it has settled.
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("wrapping", Integer, primary_key=True, autoincrement=False),
    Column("key_id", Uuid, nullable=False),
    Column("wrapped_key", LargeBinary, nullable=False),
    Column("kms_key_id", String(255, collation="C"), nullable=False),
    Column("kms_region", String(50), nullable=False),
    Column("wrapped_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
)

# One-time keys to which callers encrypt what they import; each is good once, within 15 minutes.
wallet_imports = Table(
    "wallet_imports",
    metadata,
    Column("import_id", Uuid, primary_key=True),
    Column("wrapped_key", LargeBinary, nullable=False),
    Column("kms_key_id", String(255, collation="C"), nullable=False),
    Column("kms_region", String(50), nullable=False),
    Column("created_by", String(64), nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("used_at", DateTime(timezone=True)),
    Index("ix_wallet_imports_expires_at", "expires_at"),
)

audit_chains = Table(
    "audit_chains",
    metadata,
    Column("chain_id", Uuid, key="audit_chain_id", primary_key=True),
    Column("opened_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Column("process", String(200), nullable=False),
    Column("wrapped_mac_key", LargeBinary, nullable=False),
    Column("kms_key_id", String(255), nullable=False),
    Column("kms_region", String(50), nullable=False),
    # Without a gap, so that a whole chain cannot vanish; null for chains from before this column.
    Column("number", BigInteger, unique=True),
    # The digest of the secret that the chain's writer must show; null for chains from before this column.
    Column("writer_sha256", LargeBinary),
)

# The last number that was given out, in one row that only `open_audit_chain` changes.
audit_chain_numbers = Table(
    "audit_chain_numbers",
    metadata,
    Column("one", Boolean, primary_key=True, server_default=true()),
    Column("last", BigInteger, nullable=False),
    CheckConstraint("one", name="one"),
)

audit_events = Table(
    "audit_events",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    # No foreign key: its check would lock the chain's row at every insert, and the MAC is the stronger bond.
    Column("chain_id", Uuid, key="audit_chain_id", nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("actor", String(64), nullable=False),
    Column("action", String(64), nullable=False),
    Column("outcome", String(64), nullable=False),
    Column("user_id", String(128, collation="C")),
    Column("wallet_address", String(42)),
    Column("request_id", String(128)),
    Column("kms_key_id", String(255)),
    Column("kms_request_id", String(128)),
    Column("detail", String(1024)),
    Column("mac", LargeBinary, nullable=False),
    UniqueConstraint("audit_chain_id", "seq"),
    Index("ix_audit_events_user_id_id", "user_id", "id"),
    Index("ix_audit_events_actor_id", "actor", "id"),
    Index("ix_audit_events_at", "at", postgresql_using="brin"),
    Index(
        "ix_audit_events_policies",
        "id",
        postgresql_where=text("action = 'policy.set' OR outcome = 'policy_denied'"),
    ),
    Index(
        "ix_audit_events_tokens",
        text("split_part(detail, ' ', 1)"),
        postgresql_where=text("starts_with(action, 'token.')"),
    ),
    Index("ix_audit_events_seal", "id", postgresql_where=text("starts_with(action, 'seal.')")),
)

# The modes that operators set for keys. A key without a row is active.
pool_keys = Table(
    "pool_keys",
    metadata,
    Column("alias", String(256, collation="C"), primary_key=True),
    Column("mode", String(16), nullable=False),
    Column("changed_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    CheckConstraint("mode IN ('active', 'draining')", name="mode"),
)

# What all replicas together know about each key ARN, written at a low rate; even for keys that left the pool.
key_census = Table(
    "key_census",
    metadata,
    Column("kms_key_id", String(255, collation="C"), primary_key=True),
    Column("last_used_at", DateTime(timezone=True)),
    Column("wallets", BigInteger),
    Column("counted_at", DateTime(timezone=True)),
    Column("counted_in_seconds", Float),
)

rotations = Table(
    "rotations",
    metadata,
    Column("rotation_id", Uuid, primary_key=True),
    Column("status", String(32), nullable=False),
    Column("dry_run", Boolean, nullable=False),
    Column("sources", ARRAY(String(255, collation="C")), nullable=False),
    Column("wrapped_before", DateTime(timezone=True)),
    Column("destinations", ARRAY(String(255, collation="C")), nullable=False),
    Column("rate_per_second", Double, nullable=False),
    Column("created_by", String(64), nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("started_at", DateTime(timezone=True)),
    Column("finished_at", DateTime(timezone=True)),
    Column("total", BigInteger, nullable=False),
    Column("done", BigInteger, nullable=False, server_default="0"),
    Column("failed", BigInteger, nullable=False, server_default="0"),
    Column("skipped", BigInteger, nullable=False, server_default="0"),
    Column("kms_calls", BigInteger, nullable=False, server_default="0"),
    Column("last_error", String(200)),
    # How far the sweep over the sources has come, and how many wallets it has found.
    Column("sweep", Integer, nullable=False, server_default="1"),
    Column("sweep_found", BigInteger, nullable=False, server_default="0"),
    Column("cursor_source", Integer, nullable=False, server_default="0"),
    Column("cursor_user_id", String(128, collation="C"), nullable=False, server_default=""),
    # The token bucket of all workers.
    Column("tokens", Double, nullable=False, server_default="0"),
    Column("refilled_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("slowed_rate", Double),
    Column("slowed_at", DateTime(timezone=True)),
    # The rate of the last seconds.
    Column("sampled_at", DateTime(timezone=True)),
    Column("sampled_processed", BigInteger, nullable=False, server_default="0"),
    Column("sampled_rate", Double),
    Index(
        "uq_rotations_live",
        text("(true)"),
        unique=True,
        postgresql_where=text("status IN ('pending', 'running', 'paused')"),
    ),
)

rotation_batches = Table(
    "rotation_batches",
    metadata,
    Column("batch_id", Uuid, primary_key=True),
    Column("rotation_id", Uuid, ForeignKey(rotations.c.rotation_id), nullable=False),
    Column("source", String(255, collation="C"), nullable=False),
    Column("after_user_id", String(128, collation="C"), nullable=False),
    Column("last_user_id", String(128, collation="C"), nullable=False),
    Column("worker", String(200), nullable=False),
    # Changes whenever the batch is taken, so that a worker that lost its lease cannot write under it.
    Column("lease_id", Uuid, nullable=False),
    Column("leased_until", DateTime(timezone=True), nullable=False),
    Index("ix_rotation_batches_rotation_id_leased_until", "rotation_id", "leased_until"),
)

rotation_failures = Table(
    "rotation_failures",
    metadata,
    Column("rotation_id", Uuid, ForeignKey(rotations.c.rotation_id), primary_key=True),
    Column("user_id", String(128, collation="C"), primary_key=True),
    Column("code", String(64), nullable=False),
    Column("reason", String(200), nullable=False),
    Column("kms_key_id", String(255, collation="C"), nullable=False),
    Column("at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
)

# The number of wallets under each version of a key's material, as one replica counted for all.
key_materials = Table(
    "key_materials",
    metadata,
    Column("kms_key_id", String(255, collation="C"), primary_key=True),
    # The place in the key's history, from 0, since KMS does not always give an id.
    Column("version", Integer, primary_key=True),
    Column("key_material_id", String(64)),
    Column("current_since", DateTime(timezone=True)),
    Column("wallets", BigInteger, nullable=False),
    Column("counted_at", DateTime(timezone=True), nullable=False),
    Column("counted_in_seconds", Double, nullable=False),
)

# Rewrapped MAC keys of audit chains; the newest row replaces the wrapped key in the chain's own row.
audit_chain_keys = Table(
    "audit_chain_keys",
    metadata,
    Column("chain_id", Uuid, key="audit_chain_id", primary_key=True),
    Column("wrapped_at", DateTime(timezone=True), primary_key=True),
    Column("wrapped_mac_key", LargeBinary, nullable=False),
    Column("kms_key_id", String(255, collation="C"), nullable=False),
    Column("kms_region", String(50), nullable=False),
)
