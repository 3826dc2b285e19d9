"""The tables of policies; `tables` has the others."""

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Integer,
    LargeBinary,
    Numeric,
    String,
    Table,
    Text,
    Uuid,
    func,
)
from sqlalchemy.dialects.postgresql import ARRAY

from kms_service.store.postgres.naming import metadata

# Rows are only inserted: the newest version is in force, and only if its MAC holds.
policies = Table(
    "policies",
    metadata,
    Column("name", String(64, collation="C"), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("document", Text, nullable=False),
    Column("set_by", String(64), nullable=False),
    Column("set_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Column("mac", LargeBinary, nullable=False),
    Column("mac_key_id", Uuid, nullable=False),
)

policy_windows = Table(
    "policy_windows",
    metadata,
    Column("policy", String(64, collation="C"), primary_key=True),
    Column("rule", String(64, collation="C"), primary_key=True),
    Column("window_name", String(255, collation="C"), primary_key=True),
    Column("subject", String(128, collation="C"), primary_key=True),
    Column("asset", String(128, collation="C"), primary_key=True),
    Column("slot_seconds", Integer, nullable=False),
    Column("slots", Integer, nullable=False),
    # `amounts[1]` was used in this slot of Unix time, `amounts[2]` in the one before, …
    Column("slot", BigInteger, nullable=False),
    Column("amounts", ARRAY(Numeric), nullable=False),
    Column("maximum", Numeric, nullable=False),
)
