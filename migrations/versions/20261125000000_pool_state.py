"""Create what replicas share about keys: modes, times of last use, and counts of wallets."""

import sqlalchemy as sa
from alembic import op

revision = "20261125000000_pool_state"
down_revision = "20261124000000_tokens_audit"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "pool_keys",
        sa.Column("alias", sa.String(256, collation="C"), nullable=False),
        sa.Column("mode", sa.String(16), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.PrimaryKeyConstraint("alias", name="pk_pool_keys"),
        sa.CheckConstraint("mode IN ('active', 'draining')", name="ck_pool_keys_mode"),
    )
    op.create_table(
        "key_census",
        sa.Column("kms_key_id", sa.String(255, collation="C"), nullable=False),
        sa.Column("last_used_at", sa.DateTime(timezone=True)),
        sa.Column("wallets", sa.BigInteger),
        sa.Column("counted_at", sa.DateTime(timezone=True)),
        sa.Column("counted_in_seconds", sa.Float),
        sa.PrimaryKeyConstraint("kms_key_id", name="pk_key_census"),
    )
