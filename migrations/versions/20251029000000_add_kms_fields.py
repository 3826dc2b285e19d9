"""Add the KMS key and Region that wrapped each data key."""

import sqlalchemy as sa
from alembic import op

revision = "20251029000000_add_kms_fields"
down_revision = "20251028000000_create_wallets"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("wallets", sa.Column("kms_key_id", sa.String(255, collation="C"), nullable=False))
    op.add_column("wallets", sa.Column("kms_region", sa.String(50), nullable=False))
    op.create_index("ix_wallets_kms_key_id_user_id", "wallets", ["kms_key_id", "user_id"])
