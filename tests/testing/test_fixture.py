"""The pytest plugin as a team that calls the service uses it: docs/testing.md shows these lines."""

import json
import os
import subprocess
import sys
from pathlib import Path

import boto3
import httpx
import psycopg
from moto import mock_aws

from kms_service.testing import RunningService

PAGE = Path(__file__).parents[2] / "docs/testing.md"


# A user's first test, in five lines.
def test_a_user_gets_a_wallet_and_signs(kms_service: RunningService) -> None:
    with httpx.Client(base_url=kms_service.url, headers=kms_service.headers) as client:
        wallet = client.put("/wallets/alice").json()
        signed = client.post("/wallets/alice/sign/message", json={"message": "hello"}).json()
        assert signed["walletAddress"] == wallet["walletAddress"]


def test_the_page_shows_this_test() -> None:
    lines = Path(__file__).read_text().split("def test_a_user_gets")[1].split("\n\n\n")[0].splitlines()[1:]
    assert all(line in PAGE.read_text() for line in lines)


def test_the_fixture_has_the_settings_of_the_service(kms_service: RunningService) -> None:
    httpx.put(f"{kms_service.url}/wallets/bob", headers=kms_service.headers).raise_for_status()
    with psycopg.connect(kms_service.settings.database_url.get_secret_value()) as connection:
        (row,) = connection.execute("SELECT kms_key_id FROM wallets WHERE user_id = 'bob'").fetchall()
    kms = boto3.client(
        "kms",
        endpoint_url=kms_service.settings.aws_endpoint_url_kms,
        region_name=kms_service.settings.aws_region,
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    assert kms.describe_key(KeyId=row[0])["KeyMetadata"]["Enabled"]
    assert kms_service.token not in repr(kms_service)


def test_a_mock_in_the_test_does_not_reach_the_service(kms_service: RunningService) -> None:
    with mock_aws():
        answer = httpx.put(f"{kms_service.url}/wallets/carol", headers=kms_service.headers)
        assert answer.status_code == 201
        assert boto3.client("kms", region_name="eu-central-1").list_keys()["Keys"] == []


def test_a_project_with_the_package_installed_needs_no_import(tmp_path: Path) -> None:
    """In a separate project, whose environment points at somebody's production."""
    (tmp_path / "test_theirs.py").write_text(
        "def test_theirs(kms_service):\n"
        "    import json, urllib.request\n"
        "    request = urllib.request.Request(kms_service.url + '/kms/pool', headers=kms_service.headers)\n"
        "    keys = json.load(urllib.request.urlopen(request))['keys']\n"
        "    print('KEYS', json.dumps([key['status'] for key in keys]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", "test_theirs.py"],
        cwd=tmp_path,
        env={**os.environ, "KMS_KEY_POOL_SIZE": "3", "AWS_REGION": "eu-north-1", "DATABASE_URL": "wrong"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    (keys,) = (line.split("KEYS ")[1] for line in done.stdout.splitlines() if "KEYS " in line)
    assert json.loads(keys) == ["Active"] * 10
