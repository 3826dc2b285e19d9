"""The session has the settings that the code relies on, whatever server, database or role say."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

import psycopg
import pytest
from pydantic import SecretStr
from sqlalchemy import text

from event_loop import complete, enter
from kms_endpoint import KmsEndpoint
from kms_service.errors import DatabaseUnavailable
from kms_service.local.postgres import PostgresServer
from kms_service.settings import Settings
from kms_service.store.postgres.connection import session
from kms_service.store.postgres.database import Database, open_database
from kms_service.store.postgres.migrations import migrate
from wiring import TESTER, running_services, settings_for

ODD = {
    "DateStyle": "SQL, DMY",
    "IntervalStyle": "iso_8601",
    "TimeZone": "Asia/Kathmandu",
    "client_encoding": "SQL_ASCII",
    "standard_conforming_strings": "off",
    "bytea_output": "escape",
    "default_transaction_isolation": "serializable",
    "search_path": "nowhere",
    "statement_timeout": "0",
    "lock_timeout": "0",
}


def _show(database: Database, name: str) -> str:
    with enter(database.connection()) as connection:
        return str(complete(connection.execute(text(f"SHOW {name}"))).scalar_one())


def _make_odd(url: str, name: str, value: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        database = connection.info.dbname
        given = value if name == "search_path" else f"'{value}'"
        connection.execute(f"ALTER DATABASE {database} SET {name} = {given}".encode())


@pytest.mark.parametrize("name", ODD)
def test_an_odd_default_changes_nothing(settings: Settings, database_url: str, name: str) -> None:
    straight = open_database(settings, connections=1)
    wanted = _show(straight, name)
    complete(straight.close())
    assert wanted != ODD[name]
    _make_odd(database_url, name, ODD[name])
    database = open_database(settings, connections=1)
    assert _show(database, name) == wanted
    complete(database.close())


def test_the_service_works_with_all_odd_defaults_at_once(
    database_url: str, kms_endpoint: KmsEndpoint
) -> None:
    for name, value in ODD.items():
        _make_odd(database_url, name, value)
    migrate(database_url)
    with running_services(settings_for(database_url, kms_endpoint)) as services:
        made = complete(services.wallets.create_wallet(TESTER, "alice"))
        assert complete(services.wallets.get_wallet("alice")) == made
        assert complete(services.wallets.get_private_key_for_user(TESTER, "alice")).user_id == "alice"


@pytest.fixture
def ascii_url(postgres_server: PostgresServer) -> Iterator[str]:
    with psycopg.connect(postgres_server.url("postgres"), autocommit=True) as connection:
        connection.execute("CREATE DATABASE bytes_only ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")
        yield postgres_server.url("bytes_only")
        connection.execute("DROP DATABASE bytes_only WITH (FORCE)")


def test_the_service_works_with_a_database_without_an_encoding(
    ascii_url: str, kms_endpoint: KmsEndpoint
) -> None:
    migrate(ascii_url)
    with running_services(settings_for(ascii_url, kms_endpoint)) as services:
        made = complete(services.wallets.create_wallet(TESTER, "alice"))
        assert complete(services.wallets.get_wallet("alice")) == made


@contextmanager
def _open(settings: Settings, more: str) -> Iterator[Database]:
    url = f"{settings.database_url.get_secret_value()}?{more}"
    database = open_database(settings.model_copy(update={"database_url": SecretStr(url)}), connections=1)
    yield database
    complete(database.close())


@pytest.mark.parametrize(
    ("more", "name", "value"),
    [
        ("application_name=shop", "application_name", "shop"),
        ("connect_timeout=5", "application_name", "kms-service"),
        (f"options={quote('-c statement_timeout=1s')}", "statement_timeout", "1s"),
        (f"options={quote('-c lock_timeout=1s')}", "statement_timeout", "3s"),
        (f"options={quote('-c search_path=custody')}", "search_path", "custody"),
        (f"options={quote('-c work_mem=8MB')}", "work_mem", "8MB"),
        (f"options={quote('-c DateStyle=German')}", "DateStyle", "ISO, MDY"),
        ("client_encoding=LATIN1", "client_encoding", "UTF8"),
    ],
)
def test_options_of_the_url_are_merged(settings: Settings, more: str, name: str, value: str) -> None:
    with _open(settings, more) as database:
        assert _show(database, name) == value


def _session(*, pooled: bool, **defaults: str) -> session.Session:
    settings = {
        name: session.Setting(name, "other", "default", defaults.get(name, value))
        for name, value in (session._KEPT | session._REPORTED).items()
    }
    return session.Session(pooled=pooled, read_only=False, settings=settings)


def test_behind_a_pooler_only_settings_that_it_carries_are_set() -> None:
    assert set(_session(pooled=True).settings_to_pin({"lock_timeout": "1s"}, standby=False)) == set(
        session._REPORTED
    )


@pytest.mark.parametrize("name", session._KEPT)
def test_a_setting_that_cannot_be_pinned_behind_a_pooler_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(session.SessionRefused) as refused:
        _session(pooled=True, **{name: "odd"}).settings_to_pin({}, standby=False)
    assert f"behind a pooler {name} cannot be pinned" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert name in _session(pooled=False, **{name: "odd"}).settings_to_pin({}, standby=False)


def test_a_server_that_keeps_another_value_is_refused() -> None:
    session.check_pinned({"DateStyle": "ISO, MDY"}, ["ISO, MDY"])
    with pytest.raises(session.SessionRefused, match="DateStyle cannot be pinned: it stays German"):
        session.check_pinned({"DateStyle": "ISO, MDY"}, ["German"])


def test_a_server_without_a_setting_is_refused() -> None:
    with pytest.raises(session.SessionRefused, match="knows no"):
        session.Session(pooled=False, read_only=False, settings={}).settings_to_pin({}, standby=False)


def test_a_read_only_default_is_refused_with_its_reason(settings: Settings, database_url: str) -> None:
    _make_odd(database_url, "default_transaction_read_only", "on")
    database = open_database(settings, connections=1)
    with pytest.raises(DatabaseUnavailable) as error:
        _show(database, "DateStyle")
    assert "takes no writes" in error.value.reason
    complete(database.close())
