"""Operators always learn why PostgreSQL cannot be used, and never see the password."""

import json
from urllib.parse import urlsplit

import pytest

from kms_endpoint import KmsEndpoint
from kms_service.loopback import free_port
from server_process import environment, run

_PASSWORD = "canary-of-a-password"


def _password(url: str) -> str:
    return (
        urlsplit(url)
        ._replace(netloc=f"postgres:{_PASSWORD}@{url.rpartition('@')[2].partition('/')[0]}")
        .geturl()
    )


def _database(url: str) -> str:
    return url.rpartition("/")[0] + "/nowhere"


def _tls(url: str) -> str:
    return f"{url}?sslmode=require"


def _host(_url: str) -> str:
    return f"postgresql://postgres:{_PASSWORD}@nobody.invalid/wallets?sslmode=verify-full"


def _port(_url: str) -> str:
    return f"postgresql://postgres:{_PASSWORD}@127.0.0.1:{free_port()}/wallets"


_CAUSES = {
    "password authentication failed": _password,
    'database "nowhere" does not exist': _database,
    "server does not support SSL": _tls,
    "failed to resolve host 'nobody.invalid'": _host,
    "Connection refused": _port,
}
_COMMANDS = [("serve",), ("token", "list"), ("migrate",)]


@pytest.mark.parametrize("command", _COMMANDS, ids=" ".join)
@pytest.mark.parametrize("cause", _CAUSES)
def test_a_command_says_why_in_one_line(
    database_url: str, kms_endpoint: KmsEndpoint, cause: str, command: tuple[str, ...]
) -> None:
    url = _CAUSES[cause](database_url)
    ended = run(*command, env=environment(url, kms_endpoint))
    assert ended.returncode == 75
    (line,) = ended.stderr.splitlines()[-1:]
    assert line.startswith("kms-service: ")
    assert cause in line
    assert "Traceback" not in ended.stderr
    for secret in (_PASSWORD, urlsplit(url).password):
        assert secret is None or secret not in ended.stderr + ended.stdout


def test_doctor_says_why(database_url: str, kms_endpoint: KmsEndpoint) -> None:
    ended = run("pool", "doctor", "--json", env=environment(_password(database_url), kms_endpoint))
    found = next(check for check in json.loads(ended.stdout) if check["name"] == "database")
    assert "password authentication failed" in found["detail"]
    assert _PASSWORD not in ended.stdout + ended.stderr
