"""Create policies and their windows; name a token's policy."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "20261205000000_policies"
down_revision = "20261201000000_wallet_keys"
branch_labels = None
depends_on = None

_NAME = sa.String(64, collation="C")
_REFUSE = """
CREATE FUNCTION refuse_policy_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a policy changes by a new version only' USING ERRCODE = 'insufficient_privilege';
END
$$
"""


def upgrade() -> None:
    op.add_column("tokens", sa.Column("policy", _NAME))
    _create_policies()
    _create_policy_windows()
    # For what a process looks up in the log: the last version of a policy, and the latest refusals.
    op.create_index(
        "ix_audit_events_policies",
        "audit_events",
        ["id"],
        postgresql_where=sa.text("action = 'policy.set' OR outcome = 'policy_denied'"),
    )


def _create_policies() -> None:
    op.create_table(
        "policies",
        sa.Column("name", _NAME, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("set_by", sa.String(64), nullable=False),
        sa.Column(
            "set_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.clock_timestamp()
        ),
        sa.Column("mac", sa.LargeBinary, nullable=False),
        sa.Column("mac_key_id", sa.Uuid, nullable=False),
        sa.PrimaryKeyConstraint("name", "version", name="pk_policies"),
    )
    op.execute(_REFUSE)
    op.execute(
        "CREATE TRIGGER policies_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON policies "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_policy_change()"
    )


def _create_policy_windows() -> None:
    op.create_table(
        "policy_windows",
        sa.Column("policy", _NAME, nullable=False),
        sa.Column("rule", _NAME, nullable=False),
        sa.Column("window_name", sa.String(255, collation="C"), nullable=False),
        sa.Column("subject", sa.String(128, collation="C"), nullable=False),
        sa.Column("asset", sa.String(128, collation="C"), nullable=False),
        sa.Column("slot_seconds", sa.Integer, nullable=False),
        sa.Column("slots", sa.Integer, nullable=False),
        sa.Column("slot", sa.BigInteger, nullable=False),
        sa.Column("amounts", ARRAY(sa.Numeric), nullable=False),
        sa.Column("maximum", sa.Numeric, nullable=False),
        sa.PrimaryKeyConstraint(
            "policy", "rule", "window_name", "subject", "asset", name="pk_policy_windows"
        ),
    )
