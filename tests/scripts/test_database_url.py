"""scripts/get-db-url.sh: what it prints, from where, and what it never shows."""

import json
import os
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import psycopg
import pytest
from psycopg import conninfo, sql

from kms_service.local.postgres import PostgresServer

PROGRAM = Path(__file__).resolve().parents[2] / "scripts/database_url.py"
Script = Callable[..., "subprocess.CompletedProcess[str]"]
NASTY = "p:/@ %#?&=+'\"$(id)`\\;é€\U0001f511[]{}|<>~^"
PARTS = {"DB_HOST": "db.internal", "DB_NAME": "wallets", "DB_USER": "svc", "DB_PASSWORD": "pw"}
AWS = {"AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}


def script(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the script's program with these variables and no others."""
    return subprocess.run(  # noqa: S603 - our own script
        [sys.executable, str(PROGRAM), *arguments],
        env={"PATH": os.environ["PATH"], "AWS_EC2_METADATA_DISABLED": "true", **variables},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Script:
    """The same in this process, which has imported boto3 already: that is most of the program's time."""
    main = runpy.run_path(str(PROGRAM))["main"]

    def run(**variables: str) -> subprocess.CompletedProcess[str]:
        monkeypatch.setattr(sys, "argv", [str(PROGRAM)])
        code: object = 0
        with monkeypatch.context() as patch:
            patch.setattr(os, "environ", {"AWS_EC2_METADATA_DISABLED": "true", **variables})
            patch.setattr(boto3, "DEFAULT_SESSION", None)
            try:
                main()
            except SystemExit as ended:
                code = ended.code
        assert isinstance(code, int)
        return subprocess.CompletedProcess(sys.argv, code, *capsys.readouterr())

    return run


def print_url(run: Script = script, /, **variables: str) -> str:
    done = run(**variables)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.removesuffix("\n")


def fail_with(run: Script = script, /, **variables: str) -> str:
    """The one line of a failure; nothing else is printed, and no value is shown."""
    done = run(**variables)
    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr.count("\n") == 1
    assert "hunter2" not in done.stderr
    return done.stderr


def test_a_whole_url_is_printed_as_it_is_and_comes_first() -> None:
    url = "postgresql://u:p%40@h/d?sslmode=verify-full"
    assert print_url(DATABASE_URL=url, **PARTS, DB_SECRET_ID="none") == url


def test_parts_have_a_default_port() -> None:
    assert print_url(**PARTS) == "postgresql://svc:pw@db.internal:5432/wallets"
    assert print_url(**PARTS, DB_PORT="6543") == "postgresql://svc:pw@db.internal:6543/wallets"


@pytest.mark.parametrize("host", ["db.internal", "10.0.0.1", "/var/run/postgresql"])
def test_nasty_parts_are_read_back_by_libpq(host: str) -> None:
    parts = {"DB_HOST": host, "DB_NAME": f"n{NASTY}", "DB_USER": f"u{NASTY}", "DB_PASSWORD": NASTY}
    read = conninfo.conninfo_to_dict(print_url(**parts))
    assert read == {
        "host": host,
        "port": "5432",
        "dbname": f"n{NASTY}",
        "user": f"u{NASTY}",
        "password": NASTY,
    }


def test_an_ipv6_host_is_bracketed() -> None:
    url = print_url(**{**PARTS, "DB_HOST": "fd00::1"})
    assert "@[fd00::1]:5432/" in url
    assert conninfo.conninfo_to_dict(url)["host"] == "fd00::1"


def test_a_nasty_password_opens_a_real_server(postgres_server: PostgresServer) -> None:
    with psycopg.connect(postgres_server.url("postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE nasty LOGIN PASSWORD {}").format(sql.Literal(NASTY)))
    url = print_url(
        DB_HOST="127.0.0.1",
        DB_PORT=str(postgres_server.port),
        DB_NAME="postgres",
        DB_USER="nasty",
        DB_PASSWORD=NASTY,
    )
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT current_user").fetchone() == ("nasty",)


def test_missing_variables_are_named_and_no_value_is_printed() -> None:
    line = fail_with(DB_HOST="h", DB_PASSWORD="hunter2")
    assert "DB_NAME, DB_USER not set" in line
    assert "DB_PORT is not a number" in fail_with(**{**PARTS, "DB_PASSWORD": "hunter2", "DB_PORT": "x"})


@pytest.fixture(scope="module")
def secrets_manager() -> Iterator[str]:
    """moto's Secrets Manager over HTTP; answers its URL."""
    command = (
        "from moto.moto_server.werkzeug_app import create_backend_app as app;"
        "from werkzeug.serving import make_server;"
        "server = make_server('127.0.0.1', 0, app('secretsmanager'), threaded=True);"
        "print(server.server_port, flush=True); server.serve_forever()"
    )
    with subprocess.Popen(  # noqa: S603 - a constant
        [sys.executable, "-W", "ignore", "-c", command],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            url = f"http://127.0.0.1:{process.stdout.readline().strip()}"
            yield url
        finally:
            process.terminate()


def put_secret(url: str, name: str, text: str) -> None:
    boto3.client(
        "secretsmanager",
        region_name="us-east-1",
        endpoint_url=url,
        aws_access_key_id="test",
        aws_secret_access_key="test",
    ).create_secret(Name=name, SecretString=text)


def from_secret(url: str, name: str) -> dict[str, str]:
    return {**AWS, "AWS_ENDPOINT_URL_SECRETS_MANAGER": url, "DB_SECRET_ID": name}


def test_a_secret_is_read_as_rds_writes_it(secrets_manager: str) -> None:
    secret = {
        "engine": "postgres",
        "host": "db.abc.us-east-1.rds.amazonaws.com",
        "port": 5433,
        "dbname": "wallets",
        "username": "admin",
        "password": NASTY,
        "dbInstanceIdentifier": "db",
    }
    put_secret(secrets_manager, "whole", json.dumps(secret))
    read = conninfo.conninfo_to_dict(print_url(**from_secret(secrets_manager, "whole")))
    assert (read["host"], read["port"], read["dbname"]) == (secret["host"], "5433", "wallets")
    assert (read["user"], read["password"]) == ("admin", NASTY)


def test_a_managed_master_secret_holds_the_login_only(secrets_manager: str, here: Script) -> None:
    put_secret(secrets_manager, "login", json.dumps({"username": "admin", "password": "p@w"}))
    variables = {**from_secret(secrets_manager, "login"), "DB_HOST": "h", "DB_NAME": "d"}
    assert print_url(here, **variables) == "postgresql://admin:p%40w@h:5432/d"
    assert "DB_HOST, DB_NAME not set" in fail_with(here, **from_secret(secrets_manager, "login"))


def test_a_secret_that_cannot_be_used_is_named_in_one_line(secrets_manager: str, here: Script) -> None:
    assert "secret none: ResourceNotFoundException" in fail_with(here, **from_secret(secrets_manager, "none"))
    for name, text in (("text", "hunter2"), ("list", '["hunter2"]')):
        put_secret(secrets_manager, name, text)
        assert "is not a JSON object" in fail_with(here, **from_secret(secrets_manager, name))


def test_missing_region_or_credentials_are_reported(secrets_manager: str, here: Script) -> None:
    bare = {"DB_SECRET_ID": "whole", "AWS_ENDPOINT_URL_SECRETS_MANAGER": secrets_manager}
    assert "region" in fail_with(here, **bare)
    assert "credentials" in fail_with(here, **bare, AWS_REGION="us-east-1", HOME="/nonexistent")


def test_help_names_every_source() -> None:
    done = script("--help")
    assert done.returncode == 0
    assert all(name in done.stdout for name in ("DATABASE_URL", "DB_HOST", "DB_SECRET_ID"))
