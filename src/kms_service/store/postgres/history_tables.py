"""The table of wrapped DEKs that were replaced; `tables` has the others."""

from sqlalchemy import BigInteger, Column, DateTime, Identity, Index, LargeBinary, String, Table, func

from kms_service.store.postgres.naming import metadata

# Wrapped DEKs that were replaced. A trigger writes it, and no row can be deleted within 30 days.
wallet_dek_history = Table(
    "wallet_dek_history",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("user_id", String(128, collation="C"), nullable=False),
    Column("encrypted_dek", LargeBinary, nullable=False),
    Column("kms_key_id", String(255, collation="C"), nullable=False),
    Column("kms_region", String(50), nullable=False),
    Column("kms_key_material_id", String(64)),
    Column("dek_wrapped_at", DateTime(timezone=True)),
    Column("replaced_by", String(64), nullable=False),
    Column("replaced_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Index("ix_wallet_dek_history_user_id_id", "user_id", "id"),
)
