"""Keep every wrapped DEK that is replaced, by a trigger, whoever replaces it."""

import sqlalchemy as sa
from alembic import op

revision = "20261207000000_dek_history"
down_revision = "20261206000000_audit_functions"
branch_labels = None
depends_on = None

_ARN = sa.String(255, collation="C")
_TIME = sa.DateTime(timezone=True)
# Runs with the owner's rights, and finds no name through the caller's search path or temporary tables.
_AS_OWNER = "SECURITY DEFINER SET search_path = pg_catalog, pg_temp"

# ruff: noqa: S608 - nothing here comes from outside
_KEEP = f"""
CREATE FUNCTION keep_wrapped_dek() RETURNS trigger LANGUAGE plpgsql {_AS_OWNER} AS $$
BEGIN
    INSERT INTO public.wallet_dek_history (
        user_id, encrypted_dek, kms_key_id, kms_region, kms_key_material_id, dek_wrapped_at, replaced_by
    ) VALUES (
        OLD.user_id, OLD.encrypted_dek, OLD.kms_key_id, OLD.kms_region, OLD.kms_key_material_id,
        OLD.dek_wrapped_at, session_user
    );
    RETURN NULL;
END
$$
"""
_REFUSE = """
CREATE FUNCTION refuse_history_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'DELETE' OR OLD.replaced_at > clock_timestamp() - interval '30 days' THEN
        RAISE EXCEPTION 'replaced DEKs are kept for 30 days, and never changed'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN OLD;
END
$$
"""
_PUT_BACK = f"""
CREATE FUNCTION put_back_wrapped_dek(p_history_id bigint, p_current_dek bytea) RETURNS boolean
LANGUAGE plpgsql {_AS_OWNER} AS $$
BEGIN
    UPDATE public.wallets AS wallet
    SET encrypted_dek = kept.encrypted_dek, kms_key_id = kept.kms_key_id, kms_region = kept.kms_region,
        kms_key_material_id = kept.kms_key_material_id, dek_wrapped_at = kept.dek_wrapped_at
    FROM public.wallet_dek_history AS kept
    WHERE kept.id = p_history_id AND wallet.user_id = kept.user_id AND wallet.encrypted_dek = p_current_dek;
    RETURN FOUND;
END
$$
"""


def upgrade() -> None:
    op.create_table(
        "wallet_dek_history",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("user_id", sa.String(128, collation="C"), nullable=False),
        sa.Column("encrypted_dek", sa.LargeBinary, nullable=False),
        sa.Column("kms_key_id", _ARN, nullable=False),
        sa.Column("kms_region", sa.String(50), nullable=False),
        sa.Column("kms_key_material_id", sa.String(64)),
        sa.Column("dek_wrapped_at", _TIME),
        sa.Column("replaced_by", sa.String(64), nullable=False),
        sa.Column("replaced_at", _TIME, nullable=False, server_default=sa.func.clock_timestamp()),
        sa.PrimaryKeyConstraint("id", name="pk_wallet_dek_history"),
    )
    op.create_index("ix_wallet_dek_history_user_id_id", "wallet_dek_history", ["user_id", "id"])
    for function in (_KEEP, _REFUSE, _PUT_BACK):
        op.execute(function)
    op.execute("REVOKE ALL ON FUNCTION keep_wrapped_dek, put_back_wrapped_dek FROM PUBLIC")
    op.execute(
        "CREATE TRIGGER wallets_keep_wrapped_dek AFTER UPDATE ON wallets FOR EACH ROW WHEN "
        "((OLD.encrypted_dek, OLD.kms_key_id, OLD.kms_region) IS DISTINCT FROM "
        "(NEW.encrypted_dek, NEW.kms_key_id, NEW.kms_region)) EXECUTE FUNCTION keep_wrapped_dek()"
    )
    op.execute(
        "CREATE TRIGGER wallet_dek_history_kept BEFORE UPDATE OR DELETE ON wallet_dek_history "
        "FOR EACH ROW EXECUTE FUNCTION refuse_history_change()"
    )
    op.execute(
        "CREATE TRIGGER wallet_dek_history_not_emptied BEFORE TRUNCATE ON wallet_dek_history "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change()"
    )
