"""An application in the test's own process under moto's `mock_aws`, which answers in place of AWS KMS."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass

import boto3
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from moto import mock_aws
from pydantic import SecretStr

from asgi_client import AsgiClient
from calling import ALL, make_token
from event_loop import complete, on_loop
from hpke import open_
from kms_service.api.app import create_app
from kms_service.bootstrap import Services
from kms_service.service.rewrap import worker as rewrap_worker
from kms_service.settings import Settings
from waiting import wait_until
from wiring import running_services

REGION = "eu-central-1"
ALIAS = "alias/Empressa-wallet-key"


@dataclass(frozen=True)
class Application:
    client: AsgiClient
    services: Services
    keys: list[str]


@pytest.fixture
def application(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Application]:
    """The application on two keys, each made by a bare `create_key()`."""
    monkeypatch.setattr(rewrap_worker, "IDLE_SECONDS", 0.05)
    with mock_aws():
        kms = boto3.client("kms", region_name=REGION)
        keys = [kms.create_key()["KeyMetadata"]["Arn"] for _ in range(2)]
        for number, key in enumerate(keys, 1):
            kms.create_alias(AliasName=f"{ALIAS}-{number}", TargetKeyId=key)
        settings = Settings(
            _env_file=None,
            aws_region=REGION,
            aws_access_key_id="testing",
            aws_secret_access_key=SecretStr("testing"),
            database_url=SecretStr(database_url),
            kms_key_pool_size=2,
        )
        with running_services(settings) as services:
            app = create_app(services, owns_process=False)
            yield Application(AsgiClient(app, make_token(services, *ALL)), services, keys)


def test_the_application_creates_reads_signs_and_exports_under_moto(application: Application) -> None:
    client = application.client
    made = client.put("/wallets/alice")
    assert made.status_code == 201
    assert made.json()["kmsKeyId"] in application.keys
    read = client.get("/wallets/alice/private-key").json()["privateKey"]
    assert client.post("/wallets/alice/sign/message", json={"message": "hello"}).status_code == 200
    recipient = X25519PrivateKey.generate()
    public = base64.b64encode(recipient.public_key().public_bytes_raw()).decode()
    export = client.post("/wallets/alice/private-key/export", json={"recipientPublicKey": public}).json()
    opened = open_(
        recipient,
        base64.b64decode(export["encapsulatedKey"]),
        base64.b64decode(export["ciphertext"]),
        b"kms-service/private-key-export/v1",
        export["walletAddress"].encode(),
    )
    assert f"0x{opened.hex()}" == read


def test_the_application_moves_wallets_to_another_key_under_moto(application: Application) -> None:
    client, services = application.client, application.services
    source = client.put("/wallets/alice").json()["kmsKeyId"]
    before = client.get("/wallets/alice/private-key").json()
    alias = f"Empressa-wallet-key-{application.keys.index(source) + 1}"
    assert client.put(f"/kms/pool/keys/{alias}", json={"mode": "draining"}).status_code == 200
    job = client.post("/rotations", json={"from": [source], "dryRun": False}).json()
    on_loop(services.rewrap_worker.start)
    wait_until(lambda: client.get(f"/rotations/{job['rotationId']}").json()["status"] == "completed")
    complete(services.rewrap_worker.stop())
    assert (
        client.get("/wallets/alice").json()["kmsKeyId"]
        == application.keys[1 - application.keys.index(source)]
    )
    assert client.get("/wallets/alice/private-key").json() == before


def test_a_key_disabled_by_the_test_is_disabled_for_the_application(application: Application) -> None:
    """moto itself still decrypts with it; only describing it shows the state."""
    key_id = application.keys[0].rpartition("/")[2]  # moto's disable_key takes no ARN
    boto3.client("kms", region_name=REGION).disable_key(KeyId=key_id)
    assert application.client.request("POST", "/kms/pool/refresh").status_code == 200
    statuses = {key["keyId"]: key["status"] for key in application.client.get("/kms/pool").json()["keys"]}
    assert statuses == {application.keys[0]: "Disabled", application.keys[1]: "Active"}
    assert application.client.put("/wallets/bob").json()["kmsKeyId"] == application.keys[1]
