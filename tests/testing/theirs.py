"""Tests of a team that calls the service: `test_fixture.py` runs them in a project of its own."""

from typing import TYPE_CHECKING

import boto3
import httpx
import psycopg
from moto import mock_aws

if TYPE_CHECKING:  # else a project without any import would not be what is tried
    from kms_service.testing import RunningService


# A user's first test, in five lines: docs/testing.md shows them.
def test_a_user_gets_a_wallet_and_signs(kms_service: "RunningService") -> None:
    with httpx.Client(base_url=kms_service.url, headers=kms_service.headers) as client:
        wallet = client.put("/wallets/alice").json()
        signed = client.post("/wallets/alice/sign/message", json={"message": "hello"}).json()
        assert signed["walletAddress"] == wallet["walletAddress"]


def test_the_fixture_has_the_settings_of_the_service(kms_service: "RunningService") -> None:
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


def test_a_mock_in_the_test_does_not_reach_the_service(kms_service: "RunningService") -> None:
    with mock_aws():
        answer = httpx.put(f"{kms_service.url}/wallets/carol", headers=kms_service.headers)
        assert answer.status_code == 201
        assert boto3.client("kms", region_name="eu-central-1").list_keys()["Keys"] == []


def test_the_environment_names_neither_its_keys_nor_its_database(kms_service: "RunningService") -> None:
    pool = httpx.get(f"{kms_service.url}/kms/pool", headers=kms_service.headers).json()
    assert [key["status"] for key in pool["keys"]] == ["Active"] * 10
