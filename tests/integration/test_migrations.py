"""The schema: the migrations make what the code expects, from scratch and step by step."""

import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from pydantic import SecretStr
from sqlalchemy import create_engine, make_url

from event_loop import complete
from kms_service.errors import MigrationFailed, SchemaBehind
from kms_service.local.postgres import PostgresServer
from kms_service.settings import Settings
from kms_service.store.postgres import migrations, schema
from kms_service.store.postgres.database import open_database
from kms_service.store.postgres.tables import metadata

MIGRATIONS = Path(__file__).parents[2] / "migrations"
REVISIONS = [script.revision for script in ScriptDirectory(str(MIGRATIONS)).walk_revisions("base", "heads")][
    ::-1
]
FIRST, KMS_FIELDS = "20251028000000_create_wallets", "20251029000000_add_kms_fields"
ROTATIONS = "20261127000000_rotations"  # changes wallets


@pytest.fixture
def empty_url(postgres_server: PostgresServer) -> Iterator[str]:
    """A database without a table."""
    with psycopg.connect(postgres_server.url("postgres"), autocommit=True) as connection:
        connection.execute("CREATE DATABASE unmigrated TEMPLATE template0")
        try:
            yield postgres_server.url("unmigrated")
        finally:
            connection.execute("DROP DATABASE unmigrated WITH (FORCE)")


def _one(url: str, statement: str) -> object:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(statement).fetchone()
    return None if row is None else row[0]


def _do(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)


# What SQLAlchemy says of any rule that older rows are not held to.
@pytest.mark.filterwarnings("ignore:Can't validate argument 'dialect_options'")
def test_the_migrations_make_what_the_code_sees(database_url: str) -> None:
    engine = create_engine(make_url(database_url).set(drivername="postgresql+psycopg"))
    with engine.connect() as connection:
        options = {"compare_type": True, "compare_server_default": True}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_the_names_of_constraints_and_indexes_are_the_codes(database_url: str) -> None:
    statement = """
        SELECT array_agg(relname::text) FROM pg_class
        WHERE relkind = 'i' AND relnamespace = 'public'::regnamespace AND relname NOT LIKE 'alembic%%'
    """
    seen = {
        str(name)
        for table in metadata.tables.values()
        for name in [each.name for each in table.indexes] + [each.name for each in table.constraints]
        if name is not None and not str(name).startswith(("ck_", "fk_"))
    }
    found = _one(database_url, statement)
    assert isinstance(found, list)
    assert {name for name in found if name not in seen} == set()


def test_revisions_are_one_line_with_names_that_fit() -> None:
    assert len(ScriptDirectory(str(MIGRATIONS)).get_heads()) == 1
    assert REVISIONS[:2] == [FIRST, KMS_FIELDS]
    assert sorted(REVISIONS) == REVISIONS
    assert max(len(revision) for revision in REVISIONS) <= 32


def test_a_wallet_outlives_every_step(empty_url: str) -> None:
    migrations.migrate(empty_url, KMS_FIELDS)
    _do(
        empty_url,
        "INSERT INTO wallets (user_id, wallet_address, encrypted_seed, encrypted_dek, kms_key_id, kms_region)"
        " VALUES ('alice', '0x0', 'seed', 'dek', 'arn', 'eu-central-1')",
    )
    for revision in REVISIONS[2:]:
        migrations.migrate(empty_url, revision)
        assert _one(empty_url, "SELECT version_num FROM alembic_version") == revision
        assert _one(empty_url, "SELECT encrypted_seed FROM wallets WHERE user_id = 'alice'") == b"seed"
    migrations.migrate(empty_url)


@pytest.mark.parametrize(("before", "after"), list(pairwise(REVISIONS[1:])))
def test_the_version_before_may_still_write(empty_url: str, before: str, after: str) -> None:
    """Expand, then contract: after the newer migration the older code can still insert its rows."""
    migrations.migrate(empty_url, before)
    columns = _one(
        empty_url,
        "SELECT string_agg(column_name, ', ') FROM information_schema.columns "
        "WHERE table_name = 'wallets' AND column_default IS NULL AND is_nullable = 'NO'",
    )
    migrations.migrate(empty_url, after)
    values = {"encrypted_seed": "'seed'", "encrypted_dek": "'dek'"}
    names = str(columns).split(", ")
    row = ", ".join(values.get(name, f"'{name[:10]}'") for name in names)
    statement = f"INSERT INTO wallets ({', '.join(names)}) VALUES ({row})"  # noqa: S608 - the schema's own
    _do(empty_url, statement)
    assert _one(empty_url, "SELECT count(*) FROM wallets") == 1


def test_rows_of_an_unknown_key_stop_the_migration_and_stay(empty_url: str) -> None:
    """Nobody can say which key wrapped them, and a guess would lose them."""
    migrations.migrate(empty_url, FIRST)
    _do(
        empty_url,
        "INSERT INTO wallets (user_id, wallet_address, encrypted_seed, encrypted_dek) "
        "VALUES ('alice', '0x0', 'seed', 'dek')",
    )
    with pytest.raises(MigrationFailed, match="kms_key_id"):
        migrations.migrate(empty_url)
    assert _one(empty_url, "SELECT version_num FROM alembic_version") == FIRST
    assert _one(empty_url, "SELECT count(*) FROM wallets") == 1


def test_a_failed_step_leaves_nothing_behind(empty_url: str) -> None:
    migrations.migrate(empty_url, KMS_FIELDS)
    _do(empty_url, "CREATE TABLE audit_events (in_the_way integer)")
    with pytest.raises(MigrationFailed, match="already exists"):
        migrations.migrate(empty_url)
    assert _one(empty_url, "SELECT version_num FROM alembic_version") == KMS_FIELDS
    assert _one(empty_url, "SELECT to_regclass('tokens') IS NULL") is True
    _do(empty_url, "DROP TABLE audit_events")
    migrations.migrate(empty_url)


def test_a_table_in_use_ends_the_migration_early_and_changes_nothing(empty_url: str) -> None:
    """A change that waits for a lock makes every later reader wait behind it."""
    before = REVISIONS[REVISIONS.index(ROTATIONS) - 1]
    migrations.migrate(empty_url, before)
    unchanged = _columns(empty_url)
    with psycopg.connect(empty_url) as backup:
        backup.execute("LOCK TABLE wallets IN ACCESS SHARE MODE")
        started = time.monotonic()
        with pytest.raises(MigrationFailed, match=r"another session.*holds a lock.*migrate again"):
            migrations.migrate(empty_url)
        assert 4 < time.monotonic() - started < 30
        assert _one(empty_url, "SELECT count(*) FROM wallets") == 0
    assert _one(empty_url, "SELECT version_num FROM alembic_version") == before
    assert _columns(empty_url) == unchanged
    migrations.migrate(empty_url)
    assert _one(empty_url, "SELECT version_num FROM alembic_version") == REVISIONS[-1]


def _columns(url: str) -> dict[tuple[str, str], dict[str, object]]:
    """(table, column) -> its type, whether it may be null, and its default."""
    statement = """
        SELECT table_name, column_name, is_nullable, column_default, data_type, character_maximum_length,
               collation_name
        FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> 'alembic_version'
    """
    with psycopg.connect(url, row_factory=psycopg.rows.dict_row) as connection:
        rows = connection.execute(statement).fetchall()
    return {(row.pop("table_name"), row.pop("column_name")): row for row in rows}


def test_each_step_only_adds_and_asks_nothing_new_of_the_version_before(empty_url: str) -> None:
    """Nothing is dropped, retyped or made mandatory while code that does not know of it still runs."""
    migrations.migrate(empty_url, KMS_FIELDS)
    before = _columns(empty_url)
    for revision in REVISIONS[2:]:
        migrations.migrate(empty_url, revision)
        after = _columns(empty_url)
        assert before.items() <= after.items(), revision
        tables = {table for table, _ in before}
        for (table, column), added in after.items():
            if table in tables and (table, column) not in before:
                optional = added["is_nullable"] == "YES" or added["column_default"] is not None
                assert optional, f"{revision}: {table}.{column}"
        before = after


def test_two_migrations_at_once_migrate_once(empty_url: str) -> None:
    code = "import sys; from kms_service.store.postgres.migrations import migrate; migrate(sys.argv[1])"
    started = [
        subprocess.Popen(  # noqa: S603 - a constant and a URL
            [sys.executable, "-c", code, empty_url], stderr=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    ended = [process.communicate(timeout=60)[1] for process in started]
    assert [process.returncode for process in started] == [0, 0, 0], ended
    assert _one(empty_url, "SELECT version_num FROM alembic_version") == REVISIONS[-1]


def test_files_are_named_as_their_revisions_and_follow_each_other_by_name() -> None:
    assert list(schema.revisions()) == REVISIONS


@pytest.mark.parametrize("revision", [None, FIRST, REVISIONS[-2]])
def test_a_schema_behind_is_refused_by_name(
    settings: Settings, database_url: str, revision: str | None
) -> None:
    _do(database_url, "DELETE FROM alembic_version")
    if revision is not None:
        _do(database_url, f"INSERT INTO alembic_version VALUES ('{revision}')")  # noqa: S608 - from above
    database = open_database(settings, connections=1)
    with pytest.raises(SchemaBehind, match="run: kms-service migrate") as error:
        complete(schema.check(database))
    complete(database.close())
    assert (revision or "none") in str(error.value)
    assert REVISIONS[-1] in str(error.value)


def test_a_database_never_migrated_is_refused_by_name(settings: Settings, empty_url: str) -> None:
    database = open_database(
        settings.model_copy(update={"database_url": SecretStr(empty_url)}), connections=1
    )
    with pytest.raises(SchemaBehind, match="revision none"):
        complete(schema.check(database))
    complete(database.close())


def test_a_newer_schema_is_fine(settings: Settings, database_url: str) -> None:
    _do(database_url, "UPDATE alembic_version SET version_num = '20991231000000_from_the_future'")
    database = open_database(settings, connections=1)
    complete(schema.check(database))
    complete(database.close())


@pytest.mark.parametrize("table", ["audit_events", "audit_chains"])
@pytest.mark.parametrize("change", ["UPDATE {} SET chain_id = chain_id", "DELETE FROM {}", "TRUNCATE {}"])
def test_nobody_changes_the_audit_log(database_url: str, table: str, change: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
        _do(database_url, change.format(table))
