"""Create the wallets table as the ported system has it."""

import sqlalchemy as sa
from alembic import op

revision = "20251028000000_create_wallets"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "wallets",
        sa.Column("user_id", sa.String(128, collation="C"), nullable=False),
        sa.Column("wallet_address", sa.String(42, collation="C"), nullable=False),
        sa.Column("encrypted_seed", sa.LargeBinary, nullable=False),
        sa.Column("encrypted_dek", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.PrimaryKeyConstraint("user_id", name="pk_wallets"),
        sa.UniqueConstraint("wallet_address", name="uq_wallets_wallet_address"),
    )
