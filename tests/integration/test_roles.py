"""deploy/postgres/roles.sql: each role can do its work, and nothing else."""

from datetime import timedelta

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege

from event_loop import complete
from kms_service.access.scopes import Scope
from kms_service.kms.pool import KeyMode
from kms_service.local.postgres import PostgresServer
from kms_service.settings import Settings
from kms_service.store.postgres.migrations import migrate
from kms_service.store.postgres.tables import metadata
from wiring import ROLES, TESTER, as_role, running_services, with_role

APPEND_ONLY = ("audit_chains", "audit_events", "audit_chain_keys", "seal_changes", "row_mac_keys", "policies")
WORKING = ("kms_serve", "kms_operate", "kms_rotate", "kms_readonly")
REFUSED = {
    "kms_serve": [
        "UPDATE wallets SET wallet_address = '0x'",
        "UPDATE wallets SET encrypted_dek = ''",
        "UPDATE wallets SET wallet_mac = NULL",
        "DELETE FROM wallets",
        "TRUNCATE wallets",
        "UPDATE row_mac_keys SET wrapped_key = ''",
        "DELETE FROM row_mac_keys",
        "UPDATE wallet_imports SET expires_at = now()",
        "INSERT INTO tokens (name, token_sha256, scopes) VALUES ('mine', '', '{}')",
        "UPDATE tokens SET scopes = '{private-keys:read}'",
        "UPDATE tokens SET revoked_at = NULL",
        "UPDATE tokens SET private_key_reads_per_minute = NULL",
        "DELETE FROM tokens",
        "DELETE FROM token_uses",
        "UPDATE tokens SET policy = NULL",
        "INSERT INTO policies SELECT * FROM policies",
        "UPDATE policies SET document = '{}'",
        "DELETE FROM policies",
        "DELETE FROM policy_windows",
        "DELETE FROM canary_wallets",
        "UPDATE audit_events SET actor = 'x'",
        "DELETE FROM audit_events",
        "TRUNCATE audit_events",
        "DELETE FROM audit_chains",
        "INSERT INTO audit_chain_keys SELECT * FROM audit_chain_keys",
        "UPDATE seal_changes SET sealed = false",
        "ALTER TABLE audit_events DISABLE TRIGGER USER",
        "DROP TABLE audit_events",
        "UPDATE alembic_version SET version_num = 'x'",
        "CREATE TABLE mine (x int)",
    ],
    "kms_operate": [
        "INSERT INTO wallets SELECT * FROM wallets",
        "UPDATE wallets SET encrypted_dek = ''",
        "UPDATE wallets SET wallet_address = '0x'",
        "DELETE FROM wallets",
        "DELETE FROM tokens",
        "UPDATE policies SET document = '{}'",
        "DELETE FROM policies",
        "UPDATE policy_windows SET amounts = '{}'",
        "DELETE FROM audit_events",
        "DELETE FROM seal_changes",
    ],
    "kms_rotate": [
        "UPDATE wallets SET encrypted_seed = ''",
        "UPDATE wallets SET wallet_address = '0x'",
        "UPDATE wallets SET wallet_mac = NULL",
        "UPDATE wallets SET user_id = 'x'",
        "INSERT INTO wallets SELECT * FROM wallets",
        "DELETE FROM wallets",
        "SELECT * FROM tokens",
        "DELETE FROM audit_events",
        "INSERT INTO seal_changes (sealed, actor) VALUES (false, 'x')",
    ],
    "kms_readonly": [
        "INSERT INTO seal_changes (sealed, actor) VALUES (false, 'x')",
        "UPDATE wallets SET encrypted_dek = ''",
        "UPDATE tokens SET last_used_at = now()",
        "DELETE FROM audit_events",
        "INSERT INTO audit_chains SELECT * FROM audit_chains",
    ],
}


@pytest.mark.parametrize("role", REFUSED)
def test_a_role_is_refused_what_is_not_its_work(database_url: str, role: str) -> None:
    with psycopg.connect(as_role(database_url, role), autocommit=True) as connection:
        for statement in REFUSED[role]:
            with pytest.raises(InsufficientPrivilege):
                connection.execute(statement.encode())


def test_nobody_but_the_owner_changes_an_append_only_table(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        rows = connection.execute(
            "SELECT table_name, grantee, privilege_type FROM information_schema.role_table_grants "
            "WHERE table_name = ANY(%s) AND grantee <> 'kms_migrate'",
            (list(APPEND_ONLY),),
        ).fetchall()
    assert {row[0] for row in rows} == set(APPEND_ONLY)
    assert {row[1] for row in rows} <= set(WORKING)
    assert {row[2] for row in rows} == {"SELECT", "INSERT"}


@pytest.mark.parametrize("table", sorted(metadata.tables))
def test_every_table_has_its_grants(database_url: str, table: str) -> None:
    """Every new table must be granted to a role in roles.sql."""
    with psycopg.connect(database_url) as connection:
        owner, read, used = connection.execute(
            "SELECT tableowner, has_table_privilege('kms_readonly', %(table)s, 'SELECT'), "
            "EXISTS (SELECT FROM information_schema.column_privileges WHERE table_name = %(table)s "
            "AND grantee IN ('kms_serve', 'kms_operate', 'kms_rotate')) "
            "FROM pg_tables WHERE tablename = %(table)s",
            {"table": table},
        ).fetchone() or ("", False, False)
    assert (owner, read, used) == ("kms_migrate", True, True)


def test_the_migrating_role_migrates_an_empty_database(postgres_server: PostgresServer) -> None:
    with psycopg.connect(postgres_server.url("postgres"), autocommit=True) as connection:
        connection.execute("CREATE DATABASE by_role OWNER kms_migrate")
    migrate(as_role(postgres_server.url("by_role"), "kms_migrate"))
    with psycopg.connect(postgres_server.url("by_role"), autocommit=True) as connection:
        owners = connection.execute("SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'")
        assert owners.fetchall() == [("kms_migrate",)]
        connection.execute(ROLES.read_bytes())
        connection.execute(ROLES.read_bytes())


def test_operators_do_their_work(settings: Settings) -> None:
    with running_services(settings) as owner:
        complete(owner.wallets.create_wallet(TESTER, "alice"))
    with running_services(with_role(settings, "kms_operate")) as operator:
        complete(
            operator.tokens.create(
                TESTER,
                "app",
                [Scope.WALLETS_READ],
                expires_in=timedelta(days=1),
                private_key_reads_per_minute=5,
                signatures_per_minute=None,
                policy=None,
            )
        )
        complete(operator.tokens.rotate(TESTER, "app", overlap=timedelta(hours=1), expires_in=None))
        complete(operator.tokens.revoke(TESTER, "app"))
        complete(operator.canaries.add(TESTER, "alice"))
        complete(operator.canaries.remove(TESTER, "alice"))
        complete(operator.seal.seal(TESTER, "a drill"))
        complete(operator.seal.unseal(TESTER))
        complete(operator.pool_service.refresh())
        complete(operator.pool_service.set_mode(TESTER, "Empressa-wallet-key-1", KeyMode.DRAINING))
        assert [row.name for row in complete(operator.tokens.list_all())] == ["app"]


def test_auditors_verify_and_read_with_select_only(settings: Settings) -> None:
    with running_services(settings) as owner:
        complete(owner.wallets.create_wallet(TESTER, "alice"))
    with running_services(with_role(settings, "kms_readonly")) as auditor:
        report = complete(auditor.verifier.verify(None, {}, lambda _: None))
    assert (report.intact, report.chains, report.rows) == (True, 1, 3)


def test_a_grant_of_an_earlier_version_is_revoked(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("GRANT DELETE ON audit_events TO kms_serve, PUBLIC")
        connection.execute(ROLES.read_bytes())
    with (
        psycopg.connect(as_role(database_url, "kms_serve"), autocommit=True) as connection,
        pytest.raises(InsufficientPrivilege),
    ):
        connection.execute("DELETE FROM audit_events")
