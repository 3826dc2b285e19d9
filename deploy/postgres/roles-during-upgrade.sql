-- For as long as replicas of a version before 20261209000000 run: they write with INSERT and UPDATE, or with functions
-- that this version no longer calls. Run it after roles.sql, and run roles.sql again when the last of them is gone: that
-- revokes all of this.
--
--     psql "$ADMIN_URL" --set ON_ERROR_STOP=1 --file deploy/postgres/roles-during-upgrade.sql

BEGIN;
SET LOCAL lock_timeout = '5s';
GRANT INSERT ON audit_chains, audit_events TO kms_serve, kms_operate, kms_rotate;
GRANT INSERT ON wallets, seal_changes TO kms_serve;
GRANT INSERT ON seal_changes TO kms_operate;
GRANT INSERT, UPDATE ON tokens TO kms_operate;
GRANT EXECUTE ON FUNCTION record_sealing TO kms_serve, kms_operate;
GRANT EXECUTE ON FUNCTION record_unsealing TO kms_operate;
COMMIT;
