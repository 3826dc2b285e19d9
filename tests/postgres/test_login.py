"""The database's password from AWS: read by the service itself, and again when PostgreSQL refuses it."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest
from pydantic import SecretStr
from sqlalchemy import text

from event_loop import complete
from kms_endpoint import KmsEndpoint
from kms_service.errors import DatabaseUnavailable
from kms_service.settings import Settings
from kms_service.store.postgres.connection import login
from kms_service.store.postgres.connection.address import address
from kms_service.store.postgres.database import Database, open_database
from kms_service.store.postgres.prepared import PreparedStatement
from server_process import environment, run

_WHO = PreparedStatement(text("SELECT current_user AS name"))
_ROLE = "rotated"


class SecretsManager:
    """AWS Secrets Manager with one secret, on loopback."""

    def __init__(self) -> None:
        self.secret: object = {}
        self.asked = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version: ClassVar[str] = "HTTP/1.1"  # type: ignore[misc]

            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.asked += 1
                known = request["SecretId"] == "rds!db-1"
                said: dict[str, object] = {"SecretString": json.dumps(outer.secret)}
                body = json.dumps(said if known else {"__type": "ResourceNotFoundException"}).encode()
                self.send_response(200 if known else 400)
                self.send_header("Content-Type", "application/x-amz-json-1.1")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> Iterator[SecretsManager]:
    manager = SecretsManager()
    monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", manager.url)
    thread = threading.Thread(target=manager.server.serve_forever)
    thread.start()
    yield manager
    manager.server.shutdown()
    thread.join()
    manager.server.server_close()


@pytest.fixture
def change_password(database_url: str, secrets: SecretsManager) -> Iterator[Callable[[str], None]]:
    with psycopg.connect(database_url, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {_ROLE} LOGIN SUPERUSER".encode())

        def change(password: str) -> None:
            admin.execute(f"ALTER ROLE {_ROLE} PASSWORD '{password}'".encode())
            secrets.secret = {"engine": "postgres", "username": _ROLE, "password": password}

        change("canary-one")
        yield change
        admin.execute(f"DROP ROLE {_ROLE}".encode())


def _without_login(url: str) -> str:
    return url.replace(url.partition("//")[2].partition("@")[0] + "@", "")


def _database(settings: Settings, **changes: object) -> Database:
    url = _without_login(settings.database_url.get_secret_value())
    all_changes = {"database_url": SecretStr(url), "database_secret_id": "rds!db-1", **changes}
    return open_database(settings.model_copy(update=all_changes), connections=1)


def test_a_rotated_password_needs_no_restart(
    settings: Settings,
    change_password: Callable[[str], None],
    secrets: SecretsManager,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(login, "RENEW_SECONDS", 0.0)
    database = _database(settings)
    assert complete(database.row(_WHO, {})).name == _ROLE
    complete(database.hang_up())
    assert complete(database.row(_WHO, {})).name == _ROLE
    assert secrets.asked == 1
    change_password("canary-two")
    complete(database.hang_up())
    assert complete(database.row(_WHO, {})).name == _ROLE
    assert secrets.asked == 2
    complete(database.close())


def test_a_wrong_password_asks_for_the_secret_once_in_a_while(
    settings: Settings, change_password: Callable[[str], None], secrets: SecretsManager
) -> None:
    change_password("canary-two")
    secrets.secret = {"username": _ROLE, "password": "canary-wrong"}
    database = _database(settings)
    for _ in range(3):
        with pytest.raises(DatabaseUnavailable) as error:
            complete(database.row(_WHO, {}))
        assert "password authentication failed" in error.value.reason
        assert "canary" not in error.value.reason
    assert secrets.asked <= 2
    complete(database.close())


@pytest.mark.parametrize(
    ("secret_id", "secret", "reason"),
    [
        ("rds!db-2", {}, "ResourceNotFoundException"),
        ("rds!db-1", {"username": "canary"}, "has no username and password"),
        ("rds!db-1", "canary", "has no username and password"),
    ],
)
def test_a_malformed_secret_is_reported(
    settings: Settings, secrets: SecretsManager, secret_id: str, secret: object, reason: str
) -> None:
    secrets.secret = secret
    database = _database(settings, database_secret_id=secret_id)
    with pytest.raises(DatabaseUnavailable) as error:
        complete(database.row(_WHO, {}))
    assert reason in error.value.reason
    assert "canary" not in error.value.reason
    complete(database.close())


def test_the_secret_names_the_host_where_the_url_does_not() -> None:
    secret = json.dumps({"username": "u", "password": "p", "host": "h", "port": 6543, "dbname": "x"})
    known = login.SecretLogin(lambda: secret)
    merged = complete(known.merge(address("postgresql:///wallets")))
    assert (merged["host"], merged["port"], merged["dbname"]) == ("h", "6543", "wallets")
    merged = complete(known.merge(address("postgresql://proxy/wallets")))
    assert (merged["host"], merged.get("port"), merged["user"]) == ("proxy", None, "u")


@pytest.mark.usefixtures("change_password")
def test_commands_read_the_secret_too(
    database_url: str, kms_endpoint: KmsEndpoint, secrets: SecretsManager
) -> None:
    env = environment(_without_login(database_url), kms_endpoint, DATABASE_SECRET_ID="rds!db-1")
    env["AWS_ENDPOINT_URL_SECRETS_MANAGER"] = secrets.url
    for command in (("migrate",), ("token", "list")):
        ended = run(*command, env=env)
        assert ended.returncode == 0, ended.stderr


def test_an_iam_token_is_the_password_of_each_connection(settings: Settings) -> None:
    by_iam = login.login_of(settings.model_copy(update={"database_iam_auth": True}))
    given = address("postgresql://app@db.internal:6543/wallets?sslmode=verify-full")
    token = complete(by_iam.merge(given))["password"]
    parts = urlsplit(f"https://{token}")
    assert (parts.hostname, parts.port) == ("db.internal", 6543)
    asked = parse_qs(parts.query)
    assert (asked["Action"], asked["DBUser"], asked["X-Amz-Expires"]) == (["connect"], ["app"], ["900"])
    assert not complete(by_iam.renew())
