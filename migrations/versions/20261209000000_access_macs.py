"""Give tokens and changes of the seal a MAC and a number, so that a removed one cannot come back.

Tokens and unsealings are inserted by one call with their audit row, as wallets are.
"""

# ruff: noqa: S608 - nothing here comes from outside; every function repeats the same parameters

import sqlalchemy as sa
from alembic import op

revision = "20261209000000_access_macs"
down_revision = "20261207000000_dek_history"
branch_labels = None
depends_on = None

# The columns of an audit row as parameters of a function, in the table's order.
_EVENT = """
    p_chain_id uuid, p_seq bigint, p_at timestamptz, p_actor varchar, p_action varchar, p_outcome varchar,
    p_user_id varchar, p_wallet_address varchar, p_request_id varchar, p_kms_key_id varchar,
    p_kms_request_id varchar, p_detail varchar, p_mac bytea
"""
_EVENT_VALUES = """
    p_chain_id, p_seq, p_at, p_actor, p_action, p_outcome, p_user_id, p_wallet_address, p_request_id,
    p_kms_key_id, p_kms_request_id, p_detail, p_mac
"""
_TAKEN = "EXISTS (SELECT FROM public.audit_events WHERE chain_id = p_chain_id AND seq = p_seq)"
# Runs with the owner's rights, and finds no name through the caller's search path or temporary tables.
_AS_OWNER = "SECURITY DEFINER SET search_path = pg_catalog, pg_temp"

# As in 20261206000000, with step 2: the log decides which change of a token or policy was the last.
_APPEND = f"""
CREATE OR REPLACE FUNCTION append_audit_event(p_writer_key bytea, {_EVENT}) RETURNS timestamptz
LANGUAGE plpgsql {_AS_OWNER} AS $$
BEGIN
    -- 1. Only the process that opened the chain may write to it.
    IF NOT EXISTS (
        SELECT FROM public.audit_chains WHERE chain_id = p_chain_id AND writer_sha256 = sha256(p_writer_key)
    ) THEN
        RAISE EXCEPTION 'this chain has another writer' USING ERRCODE = 'insufficient_privilege';
    END IF;
    -- 2. Only a login that may change tokens or policies may record such a change.
    IF p_action LIKE 'token.%' THEN
        IF NOT has_function_privilege(session_user, 'public.record_token'::regproc::oid, 'EXECUTE') THEN
            RAISE EXCEPTION 'this login changes no tokens' USING ERRCODE = 'insufficient_privilege';
        END IF;
    ELSIF p_action = 'policy.set' THEN
        IF NOT has_table_privilege(session_user, 'public.policies', 'INSERT') THEN
            RAISE EXCEPTION 'this login sets no policies' USING ERRCODE = 'insufficient_privilege';
        END IF;
    END IF;
    -- 3. A row must follow the row before it, so that there is no gap.
    IF p_seq > 1 AND NOT EXISTS (
        SELECT FROM public.audit_events WHERE chain_id = p_chain_id AND seq = p_seq - 1
    ) THEN
        RAISE EXCEPTION 'this place follows no row' USING ERRCODE = 'check_violation';
    END IF;
    -- 4. Null means that a foreign row is in this place; nothing was written.
    INSERT INTO public.audit_events (
        chain_id, seq, at, actor, action, outcome, user_id, wallet_address, request_id, kms_key_id,
        kms_request_id, detail, mac
    ) VALUES ({_EVENT_VALUES}) ON CONFLICT (chain_id, seq) DO NOTHING;
    RETURN CASE WHEN FOUND THEN clock_timestamp() END;
END
$$
"""
# p_was is the version that is replaced: null makes a new token, 0 is one from before there were versions.
_TOKEN = f"""
CREATE FUNCTION record_token(
    p_writer_key bytea, {_EVENT}, p_was bigint, p_name varchar, p_version bigint, p_token_sha256 bytea,
    p_previous_token_sha256 bytea, p_previous_expires_at timestamptz, p_scopes varchar[],
    p_private_key_reads_per_minute integer, p_signatures_per_minute integer, p_created_at timestamptz,
    p_expires_at timestamptz, p_revoked_at timestamptz, p_policy varchar, p_token_mac bytea,
    p_token_mac_key_id uuid
) RETURNS TABLE (now timestamptz) LANGUAGE plpgsql {_AS_OWNER} AS $$
BEGIN
    IF p_action NOT LIKE 'token.%' OR p_outcome <> 'ok' THEN
        RAISE EXCEPTION 'this event tells of no change of a token' USING ERRCODE = 'check_violation';
    END IF;
    -- 1. A row of nulls means that a foreign row is in this place of the chain.
    IF {_TAKEN} THEN
        RETURN QUERY SELECT NULL::timestamptz;
        RETURN;
    END IF;
    -- 2. No row means that the name is taken, or somebody else changed the token; nothing was written.
    IF p_was IS NULL THEN
        INSERT INTO public.tokens AS made (
            name, version, token_sha256, scopes, private_key_reads_per_minute, signatures_per_minute,
            created_at, expires_at, policy, mac, mac_key_id
        ) VALUES (
            p_name, p_version, p_token_sha256, p_scopes, p_private_key_reads_per_minute,
            p_signatures_per_minute, p_created_at, p_expires_at, p_policy, p_token_mac, p_token_mac_key_id
        ) ON CONFLICT (name) DO NOTHING;
    ELSE
        UPDATE public.tokens AS changed
        SET version = p_version, token_sha256 = p_token_sha256, scopes = p_scopes,
            previous_token_sha256 = p_previous_token_sha256, previous_expires_at = p_previous_expires_at,
            private_key_reads_per_minute = p_private_key_reads_per_minute,
            signatures_per_minute = p_signatures_per_minute, created_at = p_created_at,
            expires_at = p_expires_at, revoked_at = p_revoked_at, policy = p_policy,
            mac = p_token_mac, mac_key_id = p_token_mac_key_id
        WHERE changed.name = p_name AND coalesce(changed.version, 0) = p_was;
    END IF;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    -- 3. Both rows are committed, or neither: an error here undoes step 2.
    record_token.now := public.append_audit_event(p_writer_key, {_EVENT_VALUES});
    IF record_token.now IS NULL THEN
        RAISE EXCEPTION 'this place of the chain was taken meanwhile' USING ERRCODE = 'unique_violation';
    END IF;
    RETURN NEXT;
END
$$
"""
# Revoking needs neither the log nor a MAC: without a MAC the row grants nothing. Returns its version.
_REVOKE = f"""
CREATE FUNCTION revoke_token(p_name varchar, OUT version bigint) LANGUAGE plpgsql {_AS_OWNER} AS $$
BEGIN
    UPDATE public.tokens AS revoked
    SET revoked_at = coalesce(revoked.revoked_at, clock_timestamp()),
        version = coalesce(revoked.version, 0) + 1, mac = NULL, mac_key_id = NULL
    WHERE revoked.name = p_name RETURNING revoked.version INTO revoke_token.version;
END
$$
"""
# A number may not be further ahead than this, so that nobody can use up all numbers at once.
_LEAP = 1_000_000
_IN_REACH = f"""
    IF p_number NOT BETWEEN 1 AND {_LEAP} + coalesce((SELECT max(number) FROM public.seal_changes), 0) THEN
        RAISE EXCEPTION 'this number is out of reach' USING ERRCODE = 'check_violation';
    END IF;
"""
# Null means that another change took the number; nothing was written.
_CLOSE = f"""
CREATE FUNCTION close_seal(
    p_number bigint, p_reason varchar, p_actor varchar, p_seal_mac bytea, p_seal_mac_key_id uuid,
    OUT at timestamptz
) LANGUAGE plpgsql {_AS_OWNER} AS $$
BEGIN
    {_IN_REACH}
    INSERT INTO public.seal_changes AS change (sealed, number, reason, actor, mac, mac_key_id)
    VALUES (true, p_number, p_reason, p_actor, p_seal_mac, p_seal_mac_key_id)
    ON CONFLICT (number) DO NOTHING RETURNING change.at INTO close_seal.at;
END
$$
"""
_OPEN = f"""
CREATE FUNCTION open_seal(
    p_writer_key bytea, {_EVENT}, p_number bigint, p_seal_mac bytea, p_seal_mac_key_id uuid
) RETURNS TABLE (at timestamptz, now timestamptz) LANGUAGE plpgsql {_AS_OWNER} AS $$
BEGIN
    IF p_action <> 'seal.open' OR p_outcome <> 'ok' THEN
        RAISE EXCEPTION 'this event tells of no unsealing' USING ERRCODE = 'check_violation';
    END IF;
    {_IN_REACH}
    -- 1. A row of nulls means that a foreign row is in this place of the chain.
    IF {_TAKEN} THEN
        RETURN QUERY SELECT NULL::timestamptz, NULL::timestamptz;
        RETURN;
    END IF;
    -- 2. No row means that another change took the number; nothing was written.
    INSERT INTO public.seal_changes AS change (sealed, number, actor, mac, mac_key_id)
    VALUES (false, p_number, p_actor, p_seal_mac, p_seal_mac_key_id)
    ON CONFLICT (number) DO NOTHING RETURNING change.at INTO open_seal.at;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    -- 3. Both rows are committed, or neither: an error here undoes step 2.
    open_seal.now := public.append_audit_event(p_writer_key, {_EVENT_VALUES});
    IF open_seal.now IS NULL THEN
        RAISE EXCEPTION 'this place of the chain was taken meanwhile' USING ERRCODE = 'unique_violation';
    END IF;
    RETURN NEXT;
END
$$
"""
_FUNCTIONS = {"record_token": _TOKEN, "revoke_token": _REVOKE, "close_seal": _CLOSE, "open_seal": _OPEN}


def upgrade() -> None:
    # All nullable: the previous version inserts rows without them while both run; those grant nothing.
    op.add_column("tokens", sa.Column("version", sa.BigInteger))
    op.add_column("seal_changes", sa.Column("number", sa.BigInteger))
    for table in ("tokens", "seal_changes"):
        op.add_column(table, sa.Column("mac", sa.LargeBinary))
        op.add_column(table, sa.Column("mac_key_id", sa.Uuid))
    op.create_unique_constraint("uq_seal_changes_number", "seal_changes", ["number"])
    # For what every process looks up in the log: the last change of a token, and of the seal.
    op.create_index(
        "ix_audit_events_tokens",
        "audit_events",
        [sa.text("split_part(detail, ' ', 1)")],
        postgresql_where=sa.text("starts_with(action, 'token.')"),
    )
    op.create_index(
        "ix_audit_events_seal",
        "audit_events",
        ["id"],
        postgresql_where=sa.text("starts_with(action, 'seal.')"),
    )
    for name, function in _FUNCTIONS.items():
        op.execute(function)
        op.execute(f"REVOKE ALL ON FUNCTION {name} FROM PUBLIC")
    op.execute(_APPEND)
