"""The signer compared with botocore's: the same header for every request, character for character."""

from datetime import UTC, datetime
from typing import Any
from unittest.mock import patch

import botocore.auth
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from kms_service.kms.data_plane.signer import AccessKeys, Signer

_TEXT = st.text(st.characters(codec="ascii", exclude_categories=["C", "Z"]), min_size=1, max_size=40)
_ENDPOINTS = st.builds(
    "{}://{}{}{}".format,
    st.sampled_from(["http", "https"]),
    st.sampled_from(["kms.eu-central-1.amazonaws.com", "127.0.0.1", "LOCALHOST", "[::1]", "a-b.example"]),
    st.sampled_from(["", ":80", ":443", ":4566", ":1"]),
    st.sampled_from(["", "/", "/kms", "/a/b", "/with space", "/~tilde"]),
)
_OPERATIONS = st.sampled_from(["Encrypt", "Decrypt", "ReEncrypt", "DescribeKey"])
_TIMES = st.integers(0, 4_000_000_000)


def _botocores(
    endpoint: str, region: str, keys: AccessKeys, ours: dict[str, str], body: bytes, now: int
) -> dict[str, str]:
    """The headers that botocore adds to the same request in the same second."""
    at = datetime.fromtimestamp(now, UTC)
    request = AWSRequest("POST", endpoint, {"content-type": ours["content-type"]}, body)
    request.headers["x-amz-target"] = ours["x-amz-target"]
    credentials = Credentials(keys.access_key_id, keys.secret_key, keys.session_token)
    with patch.object(botocore.auth, "get_current_datetime", lambda: at):
        SigV4Auth(credentials, "kms", region).add_auth(request)
    return {name.lower(): str(value) for name, value in request.headers.items()}


@given(
    endpoint=_ENDPOINTS,
    region=st.sampled_from(["eu-central-1", "us-gov-west-1", "cn-north-1"]),
    secret=_TEXT,
    token=st.none() | _TEXT,
    operation=_OPERATIONS,
    body=st.binary(max_size=300),
    now=_TIMES,
)
def test_a_signature_equals_that_of_botocore(
    endpoint: str, region: str, secret: str, token: str | None, operation: str, body: bytes, now: int
) -> None:
    keys = AccessKeys("AKIDEXAMPLE", secret, token)
    ours = Signer(endpoint, region).sign(keys, operation, body, now + 0.7)
    theirs = _botocores(endpoint, region, keys, ours, body, now)
    for name in ("authorization", "x-amz-date", "x-amz-security-token"):
        assert ours.get(name) == theirs.get(name)


@given(calls=st.lists(st.tuples(st.sampled_from(["one", "two"]), _TIMES), min_size=1, max_size=8))
def test_a_reused_signer_signs_like_a_new_one(calls: list[tuple[str, int]]) -> None:
    used = Signer("https://kms.eu-central-1.amazonaws.com", "eu-central-1")
    for secret, now in calls:
        keys = AccessKeys("AKIDEXAMPLE", secret, None)
        new = Signer("https://kms.eu-central-1.amazonaws.com", "eu-central-1")
        assert used.sign(keys, "Decrypt", b"{}", now) == new.sign(keys, "Decrypt", b"{}", now)


def test_the_host_that_is_signed_is_the_one_that_is_sent() -> None:
    hosts = {
        "https://kms.eu-central-1.amazonaws.com": "kms.eu-central-1.amazonaws.com",
        "https://KMS.example:443/": "kms.example",
        "http://127.0.0.1:4566": "127.0.0.1:4566",
        "http://[::1]:4566": "[::1]:4566",
    }
    keys = AccessKeys("AKIDEXAMPLE", "secret", None)
    for endpoint, host in hosts.items():
        signer = Signer(endpoint, "eu-central-1")
        assert signer.sign(keys, "Decrypt", b"", 0)["host"] == host
        assert signer.url == f"{endpoint.split(':', 1)[0]}://{host}/"


def test_no_unsigned_header_is_sent() -> None:
    signer = Signer("https://user:password@kms.example/path?query=1#part", "eu-central-1")
    assert signer.url == "https://kms.example/path"


@pytest.mark.parametrize("shown", [repr, str, "{}".format])
def test_secrets_are_not_shown(shown: Any) -> None:
    said = shown(AccessKeys("AKIDEXAMPLE", "canary-secret", "canary-token"))
    assert "AKIDEXAMPLE" in said
    assert "canary" not in said
