"""The boto3 client: its endpoint, time-outs and credentials come from where the contract says."""

import pytest
from pydantic import SecretStr

from kms_service.kms.control_plane.client import connect
from kms_service.kms.keys.arn import is_key, region
from kms_service.settings import Settings

ARN = "arn:aws:kms:eu-central-1:111122223333:key/0a1b2c3d-0000-4000-8000-000000000000"


def _settings(**changes: object) -> Settings:
    settings = Settings(
        _env_file=None,
        aws_region="eu-central-1",
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key=SecretStr("secret"),
        database_url=SecretStr("postgresql://db/wallets"),
    )
    return settings.model_copy(update=changes)


@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL_STS"])
def test_another_services_endpoint_is_not_for_kms(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "http://127.0.0.1:9")
    assert connect(_settings(), connections=4).meta.endpoint_url == "https://kms.eu-central-1.amazonaws.com"


def test_our_own_endpoint_is_used() -> None:
    client = connect(_settings(aws_endpoint_url_kms="http://127.0.0.1:4777"), connections=4)
    assert client.meta.endpoint_url == "http://127.0.0.1:4777"


def test_waits_are_bounded_and_connections_match_the_threads() -> None:
    config = connect(_settings(), connections=12).meta.config
    assert (config.connect_timeout, config.read_timeout, config.max_pool_connections) == (1, 2, 12)
    assert config.retries == {"mode": "standard", "total_max_attempts": 3}


@pytest.mark.invariant(5)
@pytest.mark.parametrize("arn", [ARN, ARN.replace("aws", "aws-us-gov"), ARN.replace("key/", "key/mrk-")])
def test_a_key_arn(arn: str) -> None:
    assert is_key(arn)
    assert region(arn) == "eu-central-1"


@pytest.mark.invariant(5)
@pytest.mark.parametrize(
    "value",
    [
        "",
        "alias/Empressa-wallet-key-1",
        ARN.replace("key/", "alias/"),
        ARN.rpartition("/")[2],
        ARN + "\n",
        ARN + "/x",
        ARN.replace("111122223333", "\u0661" * 12),
        ARN.replace(":kms:", ":s3:"),
        ARN + "a" * 200,
    ],
)
def test_no_key_arn(value: str) -> None:
    assert not is_key(value)
