"""Insert chains, audit rows, wallets and changes of the seal by functions, and bound what rows may hold.

Roles get EXECUTE on these instead of INSERT (`deploy/postgres/roles.sql`). The previous version can still use
its own INSERTs for as long as it has the right (`deploy/postgres/roles-during-upgrade.sql`).
"""

# ruff: noqa: S608 - nothing here comes from outside; every function repeats the same parameters

import sqlalchemy as sa
from alembic import op

revision = "20261206000000_audit_functions"
down_revision = "20261205000000_policies"
branch_labels = None
depends_on = None

# No number this high was ever given out, so a row with one does not move the counter.
_IMPOSSIBLE = 1 << 53

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
# Runs with the owner's rights, and finds no name through the caller's search path or temporary tables.
_AS_OWNER = "SECURITY DEFINER SET search_path = pg_catalog, pg_temp"

_NEXT_NUMBER = f"""
CREATE FUNCTION next_audit_chain(OUT number bigint, OUT now timestamptz) LANGUAGE plpgsql {_AS_OWNER} AS $$
BEGIN
    SELECT given.last + 1 INTO STRICT next_audit_chain.number FROM public.audit_chain_numbers AS given;
    -- Skip a number that a row has although it was never given out: the verifier reports that row.
    WHILE EXISTS (SELECT FROM public.audit_chains AS chain WHERE chain.number = next_audit_chain.number) LOOP
        next_audit_chain.number := next_audit_chain.number + 1;
    END LOOP;
    next_audit_chain.now := clock_timestamp();
END
$$
"""
_APPEND = f"""
CREATE FUNCTION append_audit_event(p_writer_key bytea, {_EVENT}) RETURNS timestamptz
LANGUAGE plpgsql {_AS_OWNER} AS $$
BEGIN
    -- 1. Only the process that opened the chain may write to it.
    IF NOT EXISTS (
        SELECT FROM public.audit_chains WHERE chain_id = p_chain_id AND writer_sha256 = sha256(p_writer_key)
    ) THEN
        RAISE EXCEPTION 'this chain has another writer' USING ERRCODE = 'insufficient_privilege';
    END IF;
    -- 2. A row must follow the row before it, so that there is no gap.
    IF p_seq > 1 AND NOT EXISTS (
        SELECT FROM public.audit_events WHERE chain_id = p_chain_id AND seq = p_seq - 1
    ) THEN
        RAISE EXCEPTION 'this place follows no row' USING ERRCODE = 'check_violation';
    END IF;
    -- 3. Null means that a foreign row is in this place; nothing was written.
    INSERT INTO public.audit_events (
        chain_id, seq, at, actor, action, outcome, user_id, wallet_address, request_id, kms_key_id,
        kms_request_id, detail, mac
    ) VALUES ({_EVENT_VALUES}) ON CONFLICT (chain_id, seq) DO NOTHING;
    RETURN CASE WHEN FOUND THEN clock_timestamp() END;
END
$$
"""
_OPEN = f"""
CREATE FUNCTION open_audit_chain(
    p_writer_key bytea, p_number bigint, p_opened_at timestamptz, p_process varchar, p_wrapped_mac_key bytea,
    p_kms_region varchar, {_EVENT}
) RETURNS timestamptz LANGUAGE plpgsql {_AS_OWNER} AS $$
BEGIN
    -- One at a time. Null means that another process took the number.
    PERFORM FROM public.audit_chain_numbers FOR UPDATE;
    IF p_number IS DISTINCT FROM (SELECT number FROM public.next_audit_chain()) THEN
        RETURN NULL;
    END IF;
    INSERT INTO public.audit_chains (
        chain_id, number, opened_at, process, wrapped_mac_key, kms_key_id, kms_region, writer_sha256
    ) VALUES (
        p_chain_id, p_number, p_opened_at, p_process, p_wrapped_mac_key, p_kms_key_id, p_kms_region,
        sha256(p_writer_key)
    ) ON CONFLICT (number) DO NOTHING;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    UPDATE public.audit_chain_numbers SET last = p_number;
    RETURN public.append_audit_event(p_writer_key, {_EVENT_VALUES});
END
$$
"""
_WALLET = f"""
CREATE FUNCTION record_wallet(
    p_writer_key bytea, {_EVENT}, p_compressed_public_key varchar, p_encrypted_seed bytea,
    p_encrypted_dek bytea, p_kms_region varchar, p_wallet_mac bytea, p_wallet_mac_key_id uuid,
    p_made_at timestamptz
) RETURNS TABLE (created_at timestamptz, now timestamptz) LANGUAGE plpgsql {_AS_OWNER} AS $$
BEGIN
    -- 1. A row of nulls means that a foreign row is in this place of the chain.
    IF EXISTS (SELECT FROM public.audit_events WHERE chain_id = p_chain_id AND seq = p_seq) THEN
        RETURN QUERY SELECT NULL::timestamptz, NULL::timestamptz;
        RETURN;
    END IF;
    -- 2. No row means that the user has a wallet, or another user has this one; nothing was written.
    INSERT INTO public.wallets AS made (
        user_id, wallet_address, compressed_public_key, encrypted_seed, encrypted_dek, kms_key_id, kms_region,
        wallet_mac, wallet_mac_key_id, created_at
    ) VALUES (
        p_user_id, p_wallet_address, p_compressed_public_key, p_encrypted_seed, p_encrypted_dek, p_kms_key_id,
        p_kms_region, p_wallet_mac, p_wallet_mac_key_id, coalesce(p_made_at, transaction_timestamp())
    ) ON CONFLICT DO NOTHING RETURNING made.created_at INTO record_wallet.created_at;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    -- 3. Both rows are committed, or neither: an error here undoes step 2.
    record_wallet.now := public.append_audit_event(p_writer_key, {_EVENT_VALUES});
    IF record_wallet.now IS NULL THEN
        RAISE EXCEPTION 'this place of the chain was taken meanwhile' USING ERRCODE = 'unique_violation';
    END IF;
    RETURN NEXT;
END
$$
"""
_SEAL = f"""
CREATE FUNCTION record_sealing(p_reason varchar, p_actor varchar, OUT at timestamptz)
LANGUAGE plpgsql {_AS_OWNER} AS $$
BEGIN
    INSERT INTO public.seal_changes AS change (sealed, reason, actor) VALUES (true, p_reason, p_actor)
    RETURNING change.at INTO record_sealing.at;
END
$$
"""
_UNSEAL = f"""
CREATE FUNCTION record_unsealing(p_writer_key bytea, {_EVENT}) RETURNS TABLE (at timestamptz, now timestamptz)
LANGUAGE plpgsql {_AS_OWNER} AS $$
BEGIN
    IF p_action <> 'seal.open' OR p_outcome <> 'ok' THEN
        RAISE EXCEPTION 'this event tells of no unsealing' USING ERRCODE = 'check_violation';
    END IF;
    -- Nulls mean that a foreign row is in this place of the chain; nothing was written.
    record_unsealing.now := public.append_audit_event(p_writer_key, {_EVENT_VALUES});
    IF record_unsealing.now IS NOT NULL THEN
        INSERT INTO public.seal_changes AS change (sealed, actor) VALUES (false, p_actor)
        RETURNING change.at INTO record_unsealing.at;
    END IF;
    RETURN NEXT;
END
$$
"""
_FUNCTIONS = {
    "next_audit_chain": _NEXT_NUMBER,
    "append_audit_event": _APPEND,
    "open_audit_chain": _OPEN,
    "record_wallet": _WALLET,
    "record_sealing": _SEAL,
    "record_unsealing": _UNSEAL,
}

# psycopg cannot read times before year 1 or after 9999, and no row of this service needs such a time.
_TIMES = {
    "wallets": ("created_at", "dek_wrapped_at"),
    "wallet_imports": ("expires_at", "used_at"),
    "tokens": ("created_at", "expires_at", "revoked_at", "previous_expires_at", "last_used_at"),
    "seal_changes": ("at",),
    "canary_wallets": ("added_at",),
    "audit_chains": ("opened_at",),
    "audit_events": ("at",),
    "audit_chain_keys": ("wrapped_at",),
    "row_mac_keys": ("wrapped_at",),
    "pool_keys": ("changed_at",),
    "key_census": ("last_used_at", "counted_at"),
    "key_materials": ("current_since", "counted_at"),
    "rotations": (
        "wrapped_before", "created_at", "started_at", "finished_at", "refilled_at", "slowed_at", "sampled_at",
    ),
    "rotation_batches": ("leased_until",),
    "policies": ("set_at",),
    "rotation_failures": ("at",),
}  # fmt: skip
_NUMBERS = {
    "audit_chains": f"number BETWEEN 1 AND {_IMPOSSIBLE}",
    "audit_events": f"seq BETWEEN 1 AND {_IMPOSSIBLE} AND octet_length(mac) = 32",
    "tokens": "private_key_reads_per_minute >= 0 AND signatures_per_minute >= 0",
    "token_uses": f"second BETWEEN 0 AND {_IMPOSSIBLE} AND cardinality(counts) <= 61",
    # PostgreSQL sorts NaN above every number, so the upper bounds exclude it.
    "rotations": "rate_per_second > 0 AND rate_per_second <= 1e6 AND slowed_rate >= 0 AND slowed_rate <= 1e6 "
    "AND sampled_rate <= 1e9 AND abs(tokens) <= 1e9 AND total >= 0 AND done >= 0 AND failed >= 0 "
    "AND skipped >= 0 AND cursor_source >= 0 AND sweep >= 0 AND cardinality(sources) <= 100 "
    "AND cardinality(destinations) <= 100",
    "key_census": "wallets >= 0 AND counted_in_seconds >= 0 AND counted_in_seconds <= 1e9",
    "key_materials": "wallets >= 0 AND counted_in_seconds >= 0 AND counted_in_seconds <= 1e9",
}


def upgrade() -> None:
    # Nullable: the previous version opens chains without it while both run.
    op.add_column("audit_chains", sa.Column("writer_sha256", sa.LargeBinary))
    _create_numbers()
    for name, function in _FUNCTIONS.items():
        op.execute(function)
        op.execute(f"REVOKE ALL ON FUNCTION {name} FROM PUBLIC")
    _bound()


def _create_numbers() -> None:
    op.create_table(
        "audit_chain_numbers",
        sa.Column("one", sa.Boolean, nullable=False, server_default=sa.true()),
        sa.Column("last", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("one", name="pk_audit_chain_numbers"),
        sa.CheckConstraint("one", name=op.f("ck_audit_chain_numbers_one")),
    )
    op.execute(
        "INSERT INTO audit_chain_numbers (last) "
        f"SELECT coalesce(max(number), 0) FROM audit_chains WHERE number < {_IMPOSSIBLE}"
    )


def _bound() -> None:
    # NOT VALID: existing rows are not checked, so that no table is locked for long; new rows are.
    for table, columns in _TIMES.items():
        rule = " AND ".join(f"{column} >= '1970-01-01Z' AND {column} < '9000-01-01Z'" for column in columns)
        op.execute(f"ALTER TABLE {table} ADD CONSTRAINT ck_{table}_times CHECK ({rule}) NOT VALID")
    for table, rule in _NUMBERS.items():
        op.execute(f"ALTER TABLE {table} ADD CONSTRAINT ck_{table}_numbers CHECK ({rule}) NOT VALID")
