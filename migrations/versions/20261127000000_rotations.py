"""Create rotation jobs with their leased batches and failures; store when a wallet's DEK was rewrapped."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "20261127000000_rotations"
down_revision = "20261126000000_access"
branch_labels = None
depends_on = None

_ARN = sa.String(255, collation="C")
_USER = sa.String(128, collation="C")
_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    # Nullable, without a default: no row is rewritten. An older row counts as wrapped when it was created.
    op.add_column("wallets", sa.Column("dek_wrapped_at", _TIME))
    op.add_column("wallets", sa.Column("kms_key_material_id", sa.String(64)))
    _create_rotations()
    _create_batches()
    _create_failures()


def _create_rotations() -> None:
    op.create_table(
        "rotations",
        sa.Column("rotation_id", sa.Uuid, nullable=False),
        sa.Column("status", sa.String(32), nullable=False),
        sa.Column("dry_run", sa.Boolean, nullable=False),
        sa.Column("sources", ARRAY(_ARN), nullable=False),
        sa.Column("wrapped_before", _TIME),
        sa.Column("destinations", ARRAY(_ARN), nullable=False),
        sa.Column("rate_per_second", sa.Double, nullable=False),
        sa.Column("created_by", sa.String(64), nullable=False),
        sa.Column("created_at", _TIME, nullable=False, server_default=sa.func.now()),
        sa.Column("started_at", _TIME),
        sa.Column("finished_at", _TIME),
        sa.Column("total", sa.BigInteger, nullable=False),
        sa.Column("done", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("failed", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("skipped", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("kms_calls", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("last_error", sa.String(200)),
        sa.Column("sweep", sa.Integer, nullable=False, server_default="1"),
        sa.Column("sweep_found", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("cursor_source", sa.Integer, nullable=False, server_default="0"),
        sa.Column("cursor_user_id", _USER, nullable=False, server_default=""),
        sa.Column("tokens", sa.Double, nullable=False, server_default="0"),
        sa.Column("refilled_at", _TIME, nullable=False, server_default=sa.func.now()),
        sa.Column("slowed_rate", sa.Double),
        sa.Column("slowed_at", _TIME),
        sa.Column("sampled_at", _TIME),
        sa.Column("sampled_processed", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("sampled_rate", sa.Double),
        sa.PrimaryKeyConstraint("rotation_id", name="pk_rotations"),
    )
    # One job at a time, whoever asks.
    op.create_index(
        "uq_rotations_live",
        "rotations",
        [sa.text("(true)")],
        unique=True,
        postgresql_where=sa.text("status IN ('pending', 'running', 'paused')"),
    )


def _create_batches() -> None:
    op.create_table(
        "rotation_batches",
        sa.Column("batch_id", sa.Uuid, nullable=False),
        sa.Column("rotation_id", sa.Uuid, nullable=False),
        sa.Column("source", _ARN, nullable=False),
        sa.Column("after_user_id", _USER, nullable=False),
        sa.Column("last_user_id", _USER, nullable=False),
        sa.Column("worker", sa.String(200), nullable=False),
        sa.Column("lease_id", sa.Uuid, nullable=False),
        sa.Column("leased_until", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("batch_id", name="pk_rotation_batches"),
        sa.ForeignKeyConstraint(
            ["rotation_id"], ["rotations.rotation_id"], name="fk_rotation_batches_rotation_id"
        ),
    )
    op.create_index(
        "ix_rotation_batches_rotation_id_leased_until", "rotation_batches", ["rotation_id", "leased_until"]
    )


def _create_failures() -> None:
    op.create_table(
        "rotation_failures",
        sa.Column("rotation_id", sa.Uuid, nullable=False),
        sa.Column("user_id", _USER, nullable=False),
        sa.Column("code", sa.String(64), nullable=False),
        sa.Column("reason", sa.String(200), nullable=False),
        sa.Column("kms_key_id", _ARN, nullable=False),
        sa.Column("at", _TIME, nullable=False, server_default=sa.func.clock_timestamp()),
        sa.PrimaryKeyConstraint("rotation_id", "user_id", name="pk_rotation_failures"),
        sa.ForeignKeyConstraint(
            ["rotation_id"], ["rotations.rotation_id"], name="fk_rotation_failures_rotation_id"
        ),
    )
