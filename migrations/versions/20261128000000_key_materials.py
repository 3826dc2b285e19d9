"""Create the counts of wallets by key material, and the rewrapped MAC keys of audit chains."""

import sqlalchemy as sa
from alembic import op

revision = "20261128000000_key_materials"
down_revision = "20261127000000_rotations"
branch_labels = None
depends_on = None

_ARN = sa.String(255, collation="C")
_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "key_materials",
        sa.Column("kms_key_id", _ARN, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("key_material_id", sa.String(64)),
        sa.Column("current_since", _TIME),
        sa.Column("wallets", sa.BigInteger, nullable=False),
        sa.Column("counted_at", _TIME, nullable=False),
        sa.Column("counted_in_seconds", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("kms_key_id", "version", name="pk_key_materials"),
    )
    op.create_table(
        "audit_chain_keys",
        sa.Column("chain_id", sa.Uuid, nullable=False),
        sa.Column("wrapped_at", _TIME, nullable=False),
        sa.Column("wrapped_mac_key", sa.LargeBinary, nullable=False),
        sa.Column("kms_key_id", _ARN, nullable=False),
        sa.Column("kms_region", sa.String(50), nullable=False),
        sa.PrimaryKeyConstraint("chain_id", "wrapped_at", name="pk_audit_chain_keys"),
    )
    op.execute(
        "CREATE TRIGGER audit_chain_keys_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_chain_keys "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change()"
    )
