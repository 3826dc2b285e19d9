"""Give wallets their public key and MAC; create the keys of row MACs, and the one-time keys of imports."""

import sqlalchemy as sa
from alembic import op

revision = "20261201000000_wallet_keys"
down_revision = "20261128000000_key_materials"
branch_labels = None
depends_on = None

_ARN = sa.String(255, collation="C")
_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    # Nullable, without a default: no row is rewritten. `verify --authenticate` fills them for older rows.
    op.add_column("wallets", sa.Column("compressed_public_key", sa.String(68, collation="C")))
    op.add_column("wallets", sa.Column("wallet_mac", sa.LargeBinary))
    op.add_column("wallets", sa.Column("wallet_mac_key_id", sa.Uuid))
    # Quick on any table: the column is empty, and an index of nulls alone is one pass.
    op.create_unique_constraint("uq_wallets_compressed_public_key", "wallets", ["compressed_public_key"])
    _create_row_mac_keys()
    _create_wallet_imports()


def _create_row_mac_keys() -> None:
    op.create_table(
        "row_mac_keys",
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("wrapping", sa.Integer, nullable=False),
        sa.Column("key_id", sa.Uuid, nullable=False),
        sa.Column("wrapped_key", sa.LargeBinary, nullable=False),
        sa.Column("kms_key_id", _ARN, nullable=False),
        sa.Column("kms_region", sa.String(50), nullable=False),
        sa.Column("wrapped_at", _TIME, nullable=False, server_default=sa.func.clock_timestamp()),
        sa.PrimaryKeyConstraint("number", "wrapping", name="pk_row_mac_keys"),
    )
    op.execute(
        "CREATE TRIGGER row_mac_keys_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON row_mac_keys "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change()"
    )


def _create_wallet_imports() -> None:
    op.create_table(
        "wallet_imports",
        sa.Column("import_id", sa.Uuid, nullable=False),
        sa.Column("wrapped_key", sa.LargeBinary, nullable=False),
        sa.Column("kms_key_id", _ARN, nullable=False),
        sa.Column("kms_region", sa.String(50), nullable=False),
        sa.Column("created_by", sa.String(64), nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.Column("used_at", _TIME),
        sa.PrimaryKeyConstraint("import_id", name="pk_wallet_imports"),
    )
    op.create_index("ix_wallet_imports_expires_at", "wallet_imports", ["expires_at"])
