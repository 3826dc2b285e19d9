-- Roles with least privilege, and what each may do. Run it as the database's administrator after each
-- `kms-service migrate`; it is safe to repeat, and revokes what an earlier version granted and this one does not.
--
--     psql "$ADMIN_URL" --set ON_ERROR_STOP=1 --file deploy/postgres/roles.sql
--
-- The roles cannot log in. Give each program a login of its own that is a member of one:
--
--     CREATE ROLE wallets_service LOGIN PASSWORD '…' IN ROLE kms_serve;
--     CREATE ROLE wallets_deploy LOGIN PASSWORD '…' IN ROLE kms_migrate;
--     ALTER ROLE wallets_deploy SET role = kms_migrate;  -- so that the tables it makes belong to the role
--
--   kms_migrate   kms-service migrate: owns the tables
--   kms_serve     kms-service serve: makes and reads wallets, appends to the audit log; makes no tokens
--   kms_operate   kms-service token, seal, canary, pool: what operators change
--   kms_rotate    re-wraps DEKs: of a wallet it changes the wrapped DEK and what describes it, nothing else
--   kms_readonly  kms-service audit verify, list, export, reconcile and report
--
-- Nobody but the owner may UPDATE, DELETE or TRUNCATE the audit log, and triggers refuse that to the owner too,
-- until they drop them; `kms-service audit verify` shows when they did.

BEGIN;
SET LOCAL lock_timeout = '5s';

DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['kms_migrate', 'kms_serve', 'kms_operate', 'kms_rotate', 'kms_readonly'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
        END IF;
    END LOOP;
END
$$;

-- A table or function that the administrator's own login made goes to the role that migrates.
DO $$
DECLARE
    made record;
BEGIN
    EXECUTE 'GRANT kms_migrate TO CURRENT_USER';
    EXECUTE 'GRANT USAGE, CREATE ON SCHEMA public TO kms_migrate';
    FOR made IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tableowner <> 'kms_migrate' LOOP
        EXECUTE format('ALTER TABLE public.%I OWNER TO kms_migrate', made.tablename);
    END LOOP;
    FOR made IN
        SELECT oid::regprocedure AS signature FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace AND proowner <> 'kms_migrate'::regrole
          AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_proc.oid AND deptype = 'e')
    LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO kms_migrate', made.signature);
    END LOOP;
END
$$;

REVOKE CREATE ON SCHEMA public FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA public FROM PUBLIC, kms_serve, kms_operate, kms_rotate, kms_readonly;
GRANT USAGE ON SCHEMA public TO kms_serve, kms_operate, kms_rotate, kms_readonly;

-- All roles can read, and can check that the schema is the right one.
GRANT SELECT ON ALL TABLES IN SCHEMA public TO kms_readonly;
GRANT SELECT ON alembic_version, wallets, audit_chains, audit_chain_numbers, audit_events, seal_changes, canary_wallets, pool_keys, key_census,
        rotations, rotation_batches, rotation_failures, key_materials, audit_chain_keys,
        row_mac_keys, wallet_imports
    TO kms_serve, kms_operate, kms_rotate;

-- Everybody's work is on record, in rows that nobody can take back. The functions assign numbers and places, and
-- let only the login that opened a chain write to it: nobody can stop another, or write in another's name.
REVOKE ALL ON FUNCTION next_audit_chain, open_audit_chain, append_audit_event, record_wallet, record_sealing,
        record_unsealing, close_seal, open_seal, record_token, revoke_token
    FROM PUBLIC, kms_serve, kms_operate, kms_rotate, kms_readonly;
GRANT EXECUTE ON FUNCTION next_audit_chain, open_audit_chain, append_audit_event
    TO kms_serve, kms_operate, kms_rotate;

-- The first to come makes the key of row MACs; without KMS, nobody can make one that opens. The database sets the time:
-- the first rows count, so that rows added after them stop nobody.
GRANT INSERT (number, wrapping, key_id, wrapped_key, kms_key_id, kms_region) ON row_mac_keys
    TO kms_serve, kms_operate, kms_rotate;

-- Serving: wallets are made, each with its audit row, and never changed. Of a token, only its last use changes.
GRANT EXECUTE ON FUNCTION record_wallet TO kms_serve;
GRANT INSERT, UPDATE (used_at), DELETE ON wallet_imports TO kms_serve;
GRANT SELECT, UPDATE (last_used_at) ON tokens TO kms_serve;
GRANT SELECT, INSERT, UPDATE ON token_uses TO kms_serve;
-- What is used of policies' windows; only operators set the policies themselves.
GRANT SELECT ON policies TO kms_serve;
GRANT SELECT, INSERT, UPDATE ON policy_windows TO kms_serve;
-- Serving may seal. Unsealing takes an operator, and happens together with its audit row.
GRANT EXECUTE ON FUNCTION close_seal TO kms_serve, kms_operate;
GRANT EXECUTE ON FUNCTION open_seal TO kms_operate;
GRANT INSERT, UPDATE ON pool_keys, key_census TO kms_serve;
GRANT INSERT, DELETE ON key_materials TO kms_serve;
-- Rotations are started and controlled over HTTP; kms_rotate moves the wallets (ROTATION_WORKER_ENABLED=false here).
GRANT INSERT, UPDATE, DELETE ON rotations, rotation_batches, rotation_failures TO kms_serve;

-- Authenticating wallets of a version before MACs (kms-service verify --authenticate).
GRANT UPDATE (compressed_public_key, wallet_mac, wallet_mac_key_id) ON wallets TO kms_operate;

-- Operating. Tokens are changed together with their audit row, and revoked, never deleted: the log refers to them.
GRANT SELECT ON tokens TO kms_operate;
GRANT EXECUTE ON FUNCTION record_token, revoke_token TO kms_operate;
-- A policy changes by a new version only.
GRANT SELECT, INSERT ON policies TO kms_operate;
GRANT SELECT ON policy_windows TO kms_operate;
GRANT INSERT, DELETE ON canary_wallets TO kms_operate;
GRANT INSERT, UPDATE ON pool_keys, key_census TO kms_operate;
GRANT INSERT, DELETE ON key_materials TO kms_operate;
GRANT INSERT, UPDATE, DELETE ON rotations, rotation_batches, rotation_failures TO kms_operate;

-- Wrapped DEKs from before a rotation: operators put them back, and drop old ones. A trigger writes them.
REVOKE ALL ON FUNCTION keep_wrapped_dek, put_back_wrapped_dek FROM PUBLIC, kms_serve, kms_operate, kms_rotate, kms_readonly;
GRANT SELECT, DELETE ON wallet_dek_history TO kms_operate;
GRANT EXECUTE ON FUNCTION put_back_wrapped_dek TO kms_operate;

-- Rotating: encrypted_seed, user_id and wallet_address are out of reach (invariant 7).
GRANT UPDATE (encrypted_dek, kms_key_id, kms_region, dek_wrapped_at, kms_key_material_id) ON wallets TO kms_rotate;
GRANT INSERT, UPDATE, DELETE ON rotations, rotation_batches, rotation_failures TO kms_rotate;
GRANT INSERT, UPDATE ON key_census TO kms_rotate;
GRANT INSERT, DELETE ON key_materials TO kms_rotate;
-- The MAC keys of audit chains move with the wallets; their first wrapping stays where it is.
GRANT INSERT ON audit_chain_keys TO kms_rotate;

COMMIT;
