"""Number audit chains; give tokens limits, rotation and times of use; create the seal and the canaries."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "20261126000000_access"
down_revision = "20261125000000_pool_state"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Nullable: the previous version opens chains without a number while both run.
    op.add_column("audit_chains", sa.Column("number", sa.BigInteger))
    op.create_unique_constraint("uq_audit_chains_number", "audit_chains", ["number"])
    _extend_tokens()
    _create_token_uses()
    _create_seal_changes()
    _create_canary_wallets()


def _extend_tokens() -> None:
    op.add_column("tokens", sa.Column("signatures_per_minute", sa.Integer))
    op.add_column("tokens", sa.Column("previous_token_sha256", sa.LargeBinary))
    op.add_column("tokens", sa.Column("previous_expires_at", sa.DateTime(timezone=True)))
    op.add_column("tokens", sa.Column("last_used_at", sa.DateTime(timezone=True)))
    op.create_unique_constraint("uq_tokens_previous_token_sha256", "tokens", ["previous_token_sha256"])


def _create_token_uses() -> None:
    op.create_table(
        "token_uses",
        sa.Column("token_name", sa.String(64, collation="C"), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("second", sa.BigInteger, nullable=False),
        sa.Column("counts", ARRAY(sa.Integer), nullable=False),
        sa.PrimaryKeyConstraint("token_name", "kind", name="pk_token_uses"),
        sa.ForeignKeyConstraint(["token_name"], ["tokens.name"], name="fk_token_uses_token_name"),
    )


def _create_seal_changes() -> None:
    op.create_table(
        "seal_changes",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("sealed", sa.Boolean, nullable=False),
        sa.Column("reason", sa.String(500)),
        sa.Column("actor", sa.String(64), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.clock_timestamp()),
        sa.PrimaryKeyConstraint("id", name="pk_seal_changes"),
    )


def _create_canary_wallets() -> None:
    op.create_table(
        "canary_wallets",
        sa.Column("user_id", sa.String(128, collation="C"), nullable=False),
        sa.Column("added_by", sa.String(64), nullable=False),
        sa.Column("added_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.PrimaryKeyConstraint("user_id", name="pk_canary_wallets"),
    )
