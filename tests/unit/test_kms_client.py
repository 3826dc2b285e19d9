"""The boto3 client of the control plane: endpoint, time-outs and failures; and the pattern of a key's ARN."""

import asyncio
from typing import Any

import pytest
from pydantic import SecretStr

from kms_endpoint import Error, Garbage, Hang, KmsEndpoint, Reset
from kms_service.kms.control_plane.administration import AdministrationFailed, KeyAdministration
from kms_service.kms.control_plane.client import ControlPlane
from kms_service.kms.control_plane.inspection import Inspection
from kms_service.kms.keys.arn import is_key, region
from kms_service.settings import Settings

ARN = "arn:aws:kms:eu-central-1:111122223333:key/0a1b2c3d-0000-4000-8000-000000000000"


def _settings(**changes: object) -> Settings:
    settings = Settings(
        _env_file=None,
        aws_region="eu-central-1",
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key=SecretStr("secret"),
        database_url=SecretStr("postgresql://localhost/wallets"),
    )
    return settings.model_copy(update=changes)


def _client(**changes: object) -> Any:
    return asyncio.run(ControlPlane(_settings(**changes)).ask("CreateClient", "KMS", lambda kms: kms))


@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL_STS"])
def test_an_endpoint_of_another_service_is_not_used_for_kms(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "http://127.0.0.1:9")
    assert _client().meta.endpoint_url == "https://kms.eu-central-1.amazonaws.com"


def test_the_endpoint_of_the_settings_is_used() -> None:
    client = _client(aws_endpoint_url_kms="http://127.0.0.1:4777")
    assert client.meta.endpoint_url == "http://127.0.0.1:4777"


def test_waits_and_attempts_are_bounded() -> None:
    config = _client().meta.config
    assert (config.connect_timeout, config.read_timeout) == (1, 2)
    assert config.retries == {"mode": "standard", "total_max_attempts": 3}


@pytest.mark.parametrize(
    ("endpoint", "proxies"),
    [
        ("http://127.0.0.1:4777", {}),
        ("https://localhost:4777", {}),
        ("http://kms.example", {}),
        ("https://kms.example", None),
        (None, None),
    ],
)
def test_a_proxy_is_used_only_for_a_real_endpoint(endpoint: str | None, proxies: object) -> None:
    assert _client(aws_endpoint_url_kms=endpoint).meta.config.proxies == proxies


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Error("LimitExceededException"), "LimitExceededException"),
        (Reset(), "ConnectionClosedError"),
        (Hang(), "ReadTimeoutError"),
    ],
    ids=str,
)
def test_a_failed_call_says_which_on_what_and_why(fault: Any, reason: str) -> None:
    with KmsEndpoint() as kms:
        (arn,) = kms.add_pool("Empressa-wallet-key", 1)
        administration = KeyAdministration(ControlPlane(_settings(aws_endpoint_url_kms=kms.url)))
        with kms.on("EnableKeyRotation").answer(fault), pytest.raises(AdministrationFailed) as failure:
            asyncio.run(administration.enable_rotation(arn, 90))
    assert (failure.value.operation, failure.value.reason) == ("EnableKeyRotation", reason)
    assert str(failure.value) == f"EnableKeyRotation for {arn}: {reason}"


def test_a_reply_that_is_not_from_kms_is_a_failure() -> None:
    with KmsEndpoint() as kms:
        (arn,) = kms.add_pool("Empressa-wallet-key", 1)
        administration = KeyAdministration(ControlPlane(_settings(aws_endpoint_url_kms=kms.url)))
        with kms.on("DescribeKey").answer(Garbage()), pytest.raises(AdministrationFailed, match="garbled"):
            asyncio.run(administration.inspect(arn))


def test_a_key_without_a_rotation_status_can_be_inspected() -> None:
    with KmsEndpoint() as kms:
        (arn,) = kms.add_pool("Empressa-wallet-key", 1)
        administration = KeyAdministration(ControlPlane(_settings(aws_endpoint_url_kms=kms.url)))
        kms.on("GetKeyRotationStatus").answer(Error("UnsupportedOperationException"))
        found = asyncio.run(administration.inspect(arn))
    assert (found.rotation.supported, found.rotation.enabled) == (False, False)
    assert found.key_arn == arn


def test_a_wrong_profile_is_a_failure_without_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "no-such-profile")
    with pytest.raises(AdministrationFailed, match="ProfileNotFound"):
        asyncio.run(Inspection(ControlPlane(_settings())).reach("alias/x"))


@pytest.mark.invariant(5)
@pytest.mark.parametrize("arn", [ARN, ARN.replace("aws", "aws-us-gov"), ARN.replace("key/", "key/mrk-")])
def test_the_arn_of_a_key_is_recognised(arn: str) -> None:
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
def test_anything_but_the_arn_of_a_key_is_refused(value: str) -> None:
    assert not is_key(value)
