"""Create bearer tokens and the audit log, which nobody may change."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "20261124000000_tokens_audit"
down_revision = "20251029000000_add_kms_fields"
branch_labels = None
depends_on = None

_REFUSE = """
CREATE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is append-only' USING ERRCODE = 'insufficient_privilege';
END
$$
"""


def upgrade() -> None:
    _create_tokens()
    _create_audit_chains()
    _create_audit_events()
    op.execute(_REFUSE)
    for table in ("audit_chains", "audit_events"):
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change()"
        )


def _create_tokens() -> None:
    op.create_table(
        "tokens",
        sa.Column("name", sa.String(64, collation="C"), nullable=False),
        sa.Column("token_sha256", sa.LargeBinary, nullable=False),
        sa.Column("scopes", ARRAY(sa.String), nullable=False),
        sa.Column("private_key_reads_per_minute", sa.Integer),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("expires_at", sa.DateTime(timezone=True)),
        sa.Column("revoked_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("name", name="pk_tokens"),
        sa.UniqueConstraint("token_sha256", name="uq_tokens_token_sha256"),
    )


def _create_audit_chains() -> None:
    op.create_table(
        "audit_chains",
        sa.Column("chain_id", sa.Uuid, nullable=False),
        sa.Column(
            "opened_at",
            sa.DateTime(timezone=True),
            nullable=False,
            server_default=sa.func.clock_timestamp(),
        ),
        sa.Column("process", sa.String(200), nullable=False),
        sa.Column("wrapped_mac_key", sa.LargeBinary, nullable=False),
        sa.Column("kms_key_id", sa.String(255), nullable=False),
        sa.Column("kms_region", sa.String(50), nullable=False),
        sa.PrimaryKeyConstraint("chain_id", name="pk_audit_chains"),
    )


def _create_audit_events() -> None:
    op.create_table(
        "audit_events",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("chain_id", sa.Uuid, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.String(64), nullable=False),
        sa.Column("action", sa.String(64), nullable=False),
        sa.Column("outcome", sa.String(64), nullable=False),
        sa.Column("user_id", sa.String(128, collation="C")),
        sa.Column("wallet_address", sa.String(42)),
        sa.Column("request_id", sa.String(128)),
        sa.Column("kms_key_id", sa.String(255)),
        sa.Column("kms_request_id", sa.String(128)),
        sa.Column("detail", sa.String(1024)),
        sa.Column("mac", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit_events"),
        sa.UniqueConstraint("chain_id", "seq", name="uq_audit_events_chain_id_seq"),
    )
    op.create_index("ix_audit_events_user_id_id", "audit_events", ["user_id", "id"])
    op.create_index("ix_audit_events_actor_id", "audit_events", ["actor", "id"])
    op.create_index("ix_audit_events_at", "audit_events", ["at"], postgresql_using="brin")
