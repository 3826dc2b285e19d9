"""The endpoint of KMS, compared with boto3's; the proxy in between; and the certificates that verify it."""

import ssl
from pathlib import Path

import boto3
import botocore.session
import pytest
from botocore.config import Config

from authority import Authority
from kms_service.kms.data_plane.surroundings import Unreachable, look, proxy_for, regional_endpoint

_SESSION = botocore.session.get_session()
_REGIONS = [
    region
    for partition in _SESSION.get_available_partitions()
    for region in _SESSION.get_available_regions("kms", partition)
]
_CONFIG = Config(ignore_configured_endpoint_urls=True)  # type: ignore[call-arg] # the stubs lack it


def _boto3s(region: str) -> str:
    client = boto3.Session("id", "secret", region_name=region).client("kms", config=_CONFIG)
    return str(client.meta.endpoint_url)


@pytest.fixture(autouse=True)
def _no_proxy_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def test_there_are_regions_to_compare() -> None:
    assert {"eu-central-1", "us-gov-west-1", "cn-north-1"} <= set(_REGIONS)


@pytest.mark.parametrize("region", ["eu-central-1", "us-gov-west-1", "cn-north-1", "xx-new-7"])
@pytest.mark.parametrize(
    "flags",
    [
        {},
        {"AWS_USE_FIPS_ENDPOINT": "true"},
        {"AWS_USE_DUALSTACK_ENDPOINT": "true"},
        {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9"},
    ],
    ids=str,
)
def test_an_endpoint_is_the_one_that_boto3_finds(
    monkeypatch: pytest.MonkeyPatch, region: str, flags: dict[str, str]
) -> None:
    for name, value in flags.items():
        monkeypatch.setenv(name, value)
    assert regional_endpoint(region) == _boto3s(region)


def test_the_endpoint_of_every_region_belongs_to_aws() -> None:
    for region in _REGIONS:
        assert regional_endpoint(region).startswith(f"https://kms.{region}.")


def test_a_wrong_aws_configuration_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("[profile\nbroken")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    with pytest.raises(Unreachable) as failure:
        look(None, "eu-central-1")
    assert failure.value.name == "ConfigParseError"


@pytest.mark.parametrize(
    ("environment", "url", "proxy"),
    [
        ({"HTTPS_PROXY": "http://proxy:3128"}, "https://kms.example", "http://proxy:3128"),
        ({"https_proxy": "proxy:3128"}, "https://kms.example", "http://proxy:3128"),
        ({"ALL_PROXY": "http://proxy:3128"}, "https://kms.example", "http://proxy:3128"),
        ({"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": ".example"}, "https://kms.example", None),
        ({"HTTP_PROXY": "http://proxy:3128"}, "https://kms.example", None),
        ({"HTTP_PROXY": "http://proxy:3128"}, "http://kms.example", None),
        ({"HTTP_PROXY": "http://proxy:3128"}, "http://127.0.0.1:4566", None),
        ({"HTTPS_PROXY": "http://proxy:3128"}, "https://127.0.0.1:4566", None),
        ({"HTTPS_PROXY": "http://proxy:3128"}, "https://localhost:4566", None),
        ({"HTTPS_PROXY": "http://proxy:3128"}, "https://[::1]:4566", None),
        ({"ALL_PROXY": "http://proxy:3128"}, "http://localhost", None),
        ({}, "https://kms.example", None),
    ],
)
def test_a_proxy_is_used_only_for_a_real_endpoint(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], url: str, proxy: str | None
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert proxy_for(url) == proxy


def test_a_proxys_password_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://user:canary@proxy:3128")
    found = look("https://kms.example", "eu-central-1")
    assert found.proxy == "http://user:canary@proxy:3128"
    assert "canary" not in repr(found)


def test_the_server_is_verified_by_the_systems_certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
    tls = look("https://kms.example", "eu-central-1").tls
    assert tls is not None
    assert tls.verify_mode is ssl.CERT_REQUIRED
    assert tls.check_hostname
    assert tls.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert look("http://127.0.0.1:1", "eu-central-1").tls is None


def test_a_bundle_of_certificates_takes_their_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", str(Authority(tmp_path, "ours").certificate_file))
    tls = look("https://kms.example", "eu-central-1").tls
    assert tls is not None
    assert [each["subject"] for each in tls.get_ca_certs()] == [((("commonName", "ours"),),)]


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_bundle_that_cannot_be_used_stops_every_call(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str | None
) -> None:
    bundle = tmp_path / "bundle.pem"
    if content is not None:
        bundle.write_text(content)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(bundle))
    with pytest.raises(Unreachable, match="AWS_CA_BUNDLE"):
        look("https://kms.example", "eu-central-1")
