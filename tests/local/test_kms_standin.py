"""The KMS stand-in over HTTP, through boto3, as the service uses it."""

import base64
import hashlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import httpx
import psutil
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from event_loop import complete
from kms_service.local.errors import LocalError
from kms_service.local.kms.http import HttpServer
from kms_service.local.kms.server import LastingKms
from kms_service.local.kms_standin import REGION, KmsStandin, kms_standin
from kms_service.service.evidence.cloudtrail import files_in, read_calls

if TYPE_CHECKING:
    from types_boto3_kms import KMSClient
    from types_boto3_kms.type_defs import EncryptResponseTypeDef

CONTEXT = {"purpose": "wallet-dek", "wallet_address": "0x00"}
DEK = bytes(range(32))
VECTORS = Path(__file__).parents[1] / "vectors"


def client(endpoint: KmsStandin, region: str = REGION) -> "KMSClient":
    return boto3.client(
        "kms",
        region_name=region,
        endpoint_url=endpoint.url,
        aws_access_key_id="local",
        aws_secret_access_key="local",
        config=Config(retries={"total_max_attempts": 1}),
    )


@contextmanager
def standin_here(folder: Path) -> Iterator[KmsStandin]:
    """A stand-in with the keys of this folder, in this process: a start costs next to nothing."""
    folder.mkdir(exist_ok=True)
    kms = LastingKms(folder / "kms-keys.json", None)
    listener = socket.create_server(("127.0.0.1", 0))
    server = HttpServer(kms.answer, 0.0, kms.account_number)
    complete(server.start(listener))
    try:
        yield KmsStandin(f"http://127.0.0.1:{listener.getsockname()[1]}", os.getpid())
    finally:
        complete(server.stop())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kms")


@pytest.fixture(scope="module")
def standin(folder: Path) -> Iterator[KmsStandin]:
    with kms_standin(folder) as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def kms(standin: KmsStandin) -> "KMSClient":
    return client(standin)


@dataclass(frozen=True)
class Ended:
    """A stand-in that was asked for a key, an Encrypt and a Decrypt, and what it left."""

    folder: Path
    pid: int
    key: str
    encrypted: "EncryptResponseTypeDef"


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    folder, context = tmp_path_factory.mktemp("ended"), {"purpose": "wallet-dek"}
    with kms_standin(folder) as endpoint:
        assert psutil.pid_exists(endpoint.pid)
        kms = endpoint.client()
        key = kms.create_key()["KeyMetadata"]["Arn"]
        encrypted = kms.encrypt(KeyId=key, Plaintext=b"x", EncryptionContext=context)
        kms.decrypt(CiphertextBlob=encrypted["CiphertextBlob"], EncryptionContext=context)
        kms.close()
    return Ended(folder, endpoint.pid, key, encrypted)


@pytest.fixture
def key(kms: "KMSClient") -> str:
    return kms.create_key()["KeyMetadata"]["Arn"]


def test_get_caller_identity_answers_as_sts_does(standin: KmsStandin, kms: "KMSClient") -> None:
    sts = boto3.client(
        "sts",
        region_name=REGION,
        endpoint_url=standin.environ()["AWS_ENDPOINT_URL_STS"],
        aws_access_key_id="<local>",
        aws_secret_access_key="local",
    )
    told = sts.get_caller_identity()
    with pytest.raises(ClientError) as refused:
        sts.get_session_token()
    made = kms.create_key()["KeyMetadata"]
    assert told["Account"] == made["AWSAccountId"] == made["Arn"].split(":")[4]
    assert (told["Arn"], told["UserId"]) == (f"arn:aws:iam::{told['Account']}:user/<local>", "<local>")
    assert code(refused) == "InvalidAction"


def wrap(kms: "KMSClient", key: str) -> bytes:
    return kms.encrypt(KeyId=key, Plaintext=DEK, EncryptionContext=CONTEXT)["CiphertextBlob"]


def code(caught: pytest.ExceptionInfo[ClientError]) -> str:
    return caught.value.response["Error"]["Code"]


def facts(kms: "KMSClient", key: str) -> dict[str, Any]:
    return {
        "metadata": kms.describe_key(KeyId=key)["KeyMetadata"],
        "policy": kms.get_key_policy(KeyId=key)["Policy"],
        "tags": kms.list_resource_tags(KeyId=key)["Tags"],
        "aliases": [a["AliasName"] for a in kms.list_aliases(KeyId=key)["Aliases"]],
        "rotation": {
            k: v for k, v in kms.get_key_rotation_status(KeyId=key).items() if k != "ResponseMetadata"
        },
        "rotations": len(kms.list_key_rotations(KeyId=key)["Rotations"]),
    }


def make_key_with_everything(kms: "KMSClient") -> str:
    everyone = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "kms:*", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Id": "mine", "Statement": [everyone]})
    created = kms.create_key(
        Description="pool key", Policy=policy, Tags=[{"TagKey": "service", "TagValue": "kms-service"}]
    )
    arn = created["KeyMetadata"]["Arn"]
    kms.create_alias(AliasName="alias/pool-1", TargetKeyId=arn)
    kms.enable_key_rotation(KeyId=arn, RotationPeriodInDays=180)
    kms.rotate_key_on_demand(KeyId=arn)
    return arn


def test_keys_last_over_restarts_with_all_that_belongs_to_them(tmp_path: Path) -> None:
    with standin_here(tmp_path) as endpoint:
        kms = client(endpoint)
        arn = make_key_with_everything(kms)
        blob, before = wrap(kms, arn), facts(kms, arn)
    with standin_here(tmp_path) as endpoint:
        kms = client(endpoint)
        assert facts(kms, arn) == before
        opened = kms.decrypt(KeyId="alias/pool-1", CiphertextBlob=blob, EncryptionContext=CONTEXT)
        assert (opened["Plaintext"], opened["KeyId"]) == (DEK, arn)
    assert before["rotation"]["RotationPeriodInDays"] == 180
    assert before["rotations"] == 1


def test_a_killed_stand_in_loses_no_key_it_has_answered_for(tmp_path: Path) -> None:
    with kms_standin(tmp_path) as endpoint:
        kms = client(endpoint)
        blobs = {arn: wrap(kms, arn) for arn in (kms.create_key()["KeyMetadata"]["Arn"] for _ in range(3))}
        os.kill(endpoint.pid, signal.SIGKILL)
    with kms_standin(tmp_path) as endpoint:
        kms = client(endpoint)
        for arn, blob in blobs.items():
            assert kms.decrypt(KeyId=arn, CiphertextBlob=blob, EncryptionContext=CONTEXT)["Plaintext"] == DEK


def test_state_and_deletion_date_last_too(tmp_path: Path) -> None:
    with standin_here(tmp_path) as endpoint:
        kms = client(endpoint)
        arn = kms.create_key()["KeyMetadata"]["Arn"]
        kms.schedule_key_deletion(KeyId=arn, PendingWindowInDays=7)
        before = kms.describe_key(KeyId=arn)["KeyMetadata"]
    with standin_here(tmp_path) as endpoint:
        after = client(endpoint).describe_key(KeyId=arn)["KeyMetadata"]
    assert after == before
    assert after["KeyState"] == "PendingDeletion"


def test_a_key_file_of_an_earlier_release_still_opens(tmp_path: Path) -> None:
    kept = json.loads((VECTORS / "kms_keys_format_1.json").read_text())
    old = kept["facts"]
    (tmp_path / "kms-keys.json").write_text(json.dumps(kept["file"]))
    made: list[bytes] = []
    for _ in range(2):  # as it was, and as it is written back
        with standin_here(tmp_path) as endpoint:
            kms = client(endpoint)
            made.append(wrap(kms, old["keys"][1]))  # the key that was rotated
            for blob in made:
                assert kms.decrypt(CiphertextBlob=blob, EncryptionContext=CONTEXT)["Plaintext"] == DEK
            for name in ("a", "b"):
                blob = base64.b64decode(old[f"blob_{name}"])
                opened = kms.decrypt(CiphertextBlob=blob, EncryptionContext=old["context"])
                described = old[f"described_{name}"]
                assert (opened["Plaintext"], opened["KeyId"]) == (DEK, described["Arn"])
                assert opened["KeyMaterialId"] == described["CurrentKeyMaterialId"]
                rotation = kms.get_key_rotation_status(KeyId=opened["KeyId"])
                assert str(rotation["NextRotationDate"]) == old[f"rotation_{name}"]["NextRotationDate"]
                with pytest.raises(ClientError) as caught:
                    kms.decrypt(CiphertextBlob=blob, EncryptionContext={})
                assert code(caught) == "InvalidCiphertextException"
                with pytest.raises(ClientError) as caught:
                    kms.decrypt(CiphertextBlob=blob[:50], EncryptionContext=old["context"])
                assert code(caught) == "InvalidCiphertextException"
            mine = facts(kms, old["keys"][1])
            assert (mine["aliases"], mine["rotations"]) == (["alias/pool-1"], 1)
            assert mine["tags"] == [{"TagKey": "service", "TagValue": "kms-service"}]
            states = [kms.describe_key(KeyId=arn)["KeyMetadata"]["KeyState"] for arn in old["keys"]]
            assert states == ["Enabled", "Enabled", "PendingDeletion", "Disabled"]


def test_rotated_material_lasts(tmp_path: Path) -> None:
    with standin_here(tmp_path) as endpoint:
        kms = client(endpoint)
        arn = kms.create_key()["KeyMetadata"]["Arn"]
        blobs = [wrap(kms, arn)]
        kms.rotate_key_on_demand(KeyId=arn)
        blobs.append(wrap(kms, arn))
    with standin_here(tmp_path) as endpoint:
        kms = client(endpoint)
        opened = [kms.decrypt(CiphertextBlob=blob, EncryptionContext=CONTEXT) for blob in blobs]
    assert [each["Plaintext"] for each in opened] == [DEK, DEK]
    assert opened[0]["KeyMaterialId"] != opened[1]["KeyMaterialId"]


def test_a_signing_key_lasts(tmp_path: Path) -> None:
    how = {"SigningAlgorithm": "ECDSA_SHA_256"}
    message = b"manifest"
    with standin_here(tmp_path) as endpoint:
        kms: Any = client(endpoint)
        made = kms.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]
        arn = made["Arn"]
        before = kms.get_public_key(KeyId=arn)
        signature = kms.sign(KeyId=arn, Message=message, **how)["Signature"]
    with standin_here(tmp_path) as endpoint:
        kms = client(endpoint)
        after = kms.get_public_key(KeyId=arn)
        digest = hashlib.sha256(message).digest()
        signed = kms.sign(KeyId=arn, Message=digest, MessageType="DIGEST", **how)["Signature"]
        assert kms.verify(KeyId=arn, Message=message, Signature=signature, **how)["SignatureValid"]
        with pytest.raises(kms.exceptions.KMSInvalidSignatureException):
            kms.verify(KeyId=arn, Message=b"another", Signature=signature, **how)
        with pytest.raises(kms.exceptions.InvalidKeyUsageException):
            kms.encrypt(KeyId=arn, Plaintext=DEK)
        kms.disable_key(KeyId=arn)
        with pytest.raises(kms.exceptions.DisabledException):
            kms.sign(KeyId=arn, Message=message, **how)
    assert made["SigningAlgorithms"] == before["SigningAlgorithms"] == ["ECDSA_SHA_256"]
    assert (after["PublicKey"], after["KeyId"]) == (before["PublicKey"], arn)
    public: Any = load_der_public_key(after["PublicKey"])
    for each in (signature, signed):
        public.verify(each, message, ECDSA(SHA256()))


def test_a_multi_region_key_lasts_in_both_its_regions(tmp_path: Path) -> None:
    with standin_here(tmp_path) as endpoint:
        kms = client(endpoint)
        key = kms.create_key(MultiRegion=True)["KeyMetadata"]
        kms.replicate_key(KeyId=key["KeyId"], ReplicaRegion="eu-west-1")
        before = wrap(kms, key["Arn"])
        kms.rotate_key_on_demand(KeyId=key["KeyId"])
    with standin_here(tmp_path) as endpoint:
        first, second = client(endpoint), client(endpoint, "eu-west-1")
        for blob in (before, wrap(first, key["Arn"])):
            opened = second.decrypt(KeyId=key["KeyId"], CiphertextBlob=blob, EncryptionContext=CONTEXT)
            assert opened["Plaintext"] == DEK
            assert opened["KeyId"] == key["Arn"].replace(REGION, "eu-west-1")
        first.rotate_key_on_demand(KeyId=key["KeyId"])
        newest = [kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"] for kms in (first, second)]
    assert newest[0]["CurrentKeyMaterialId"] == newest[1]["CurrentKeyMaterialId"]
    assert newest[1]["MultiRegionConfiguration"]["MultiRegionKeyType"] == "REPLICA"


def test_each_answer_takes_the_latency_of_the_setting(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "kms_service.local.kms.server", "--keys", str(tmp_path / "keys")]
    words += ["--latency-ms", "150"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own
        assert process.stdout is not None
        endpoint = KmsStandin(process.stdout.readline().strip(), process.pid)
        started = time.monotonic()
        client(endpoint).list_keys()
        took = time.monotonic() - started
        process.terminate()
    assert took >= 0.15
    assert process.returncode == 0


def test_key_file_is_private(tmp_path: Path) -> None:
    with standin_here(tmp_path) as endpoint:
        client(endpoint).create_key()
    assert stat.S_IMODE((tmp_path / "kms-keys.json").stat().st_mode) == 0o600
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_a_key_that_cannot_be_written_is_not_made(tmp_path: Path) -> None:
    folder = tmp_path / "kms"
    with standin_here(folder) as endpoint:
        kms = client(endpoint)
        kms.create_key()
        before = kms.list_keys()["Keys"]
        folder.rename(tmp_path / "aside")
        with pytest.raises(ClientError) as caught:
            kms.create_key()
        (tmp_path / "aside").rename(folder)
        assert code(caught) == "KMSInternalException"
        assert kms.list_keys()["Keys"] == before


def test_a_damaged_key_file_stops_the_start_and_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "kms-keys.json").write_text("{")
    with (
        pytest.raises(LocalError, match=r"kms-keys.json cannot be used: it is damaged"),
        kms_standin(tmp_path),
    ):
        pass
    assert (tmp_path / "kms-keys.json").read_text() == "{"


def test_a_key_file_of_another_format_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "kms-keys.json").write_text('{"format": 3, "backends": []}')
    with pytest.raises(LocalError, match="format 3"), standin_here(tmp_path):
        pass


@pytest.mark.usefixtures("standin")
def test_one_key_file_belongs_to_one_process(folder: Path) -> None:
    with pytest.raises(LocalError, match="in use"), kms_standin(folder):
        pass


def test_nothing_is_left_running(ended: Ended) -> None:
    assert not psutil.pid_exists(ended.pid)


def test_disabled_key_refuses(kms: "KMSClient", key: str) -> None:
    blob = wrap(kms, key)
    kms.disable_key(KeyId=key)
    with pytest.raises(ClientError) as caught:
        kms.decrypt(KeyId=key, CiphertextBlob=blob, EncryptionContext=CONTEXT)
    assert code(caught) == "DisabledException"
    kms.enable_key(KeyId=key.split("/")[1])
    assert kms.decrypt(KeyId=key, CiphertextBlob=blob, EncryptionContext=CONTEXT)["Plaintext"] == DEK


def test_key_pending_deletion_refuses(kms: "KMSClient", key: str) -> None:
    kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
    with pytest.raises(ClientError) as caught:
        wrap(kms, key)
    assert code(caught) == "KMSInvalidStateException"


def test_wrong_key_context_or_blob_is_refused(kms: "KMSClient", key: str) -> None:
    other = kms.create_key()["KeyMetadata"]["Arn"]
    blob = wrap(kms, key)
    cases: list[tuple[str, bytes, dict[str, str], str]] = [
        (other, blob, CONTEXT, "IncorrectKeyException"),
        (key, blob, {"purpose": "other"}, "InvalidCiphertextException"),
        (key, blob[:-1] + bytes([blob[-1] ^ 1]), CONTEXT, "InvalidCiphertextException"),
        (key, b"no such blob", CONTEXT, "InvalidCiphertextException"),
        (key, b"\xff" * 96, CONTEXT, "InvalidCiphertextException"),
        ("alias/none", blob, CONTEXT, "NotFoundException"),
    ]
    for key_id, ciphertext, context, expected in cases:
        with pytest.raises(ClientError) as caught:
            kms.decrypt(KeyId=key_id, CiphertextBlob=ciphertext, EncryptionContext=context)
        assert code(caught) == expected


def test_dry_run_does_nothing_and_says_so(kms: "KMSClient", key: str) -> None:
    with pytest.raises(ClientError) as caught:
        kms.encrypt(KeyId=key, Plaintext=DEK, DryRun=True)
    assert code(caught) == "DryRunOperationException"


def test_a_dry_run_without_a_ciphertext_asks_about_the_key_alone(kms: "KMSClient", key: str) -> None:
    def dry_run() -> str:
        with pytest.raises(ClientError) as caught:
            kms.decrypt(
                KeyId=key, EncryptionContext=CONTEXT, DryRun=True, DryRunModifiers=["IGNORE_CIPHERTEXT"]
            )
        return code(caught)

    assert dry_run() == "DryRunOperationException"
    kms.disable_key(KeyId=key)
    assert dry_run() == "DisabledException"


def test_re_encrypt_moves_a_key_and_names_both_materials(kms: "KMSClient", key: str) -> None:
    other = kms.create_key()["KeyMetadata"]["Arn"]
    moved = kms.re_encrypt(
        CiphertextBlob=wrap(kms, key),
        SourceKeyId=key,
        SourceEncryptionContext=CONTEXT,
        DestinationKeyId=other,
        DestinationEncryptionContext=CONTEXT,
    )
    assert (moved["SourceKeyId"], moved["KeyId"]) == (key, other)
    opened = kms.decrypt(KeyId=other, CiphertextBlob=moved["CiphertextBlob"], EncryptionContext=CONTEXT)
    assert (opened["Plaintext"], opened["KeyMaterialId"]) == (DEK, moved["DestinationKeyMaterialId"])
    described = kms.describe_key(KeyId=key)["KeyMetadata"]
    assert described["CurrentKeyMaterialId"] == moved["SourceKeyMaterialId"]


def test_key_specs_and_aliases_that_it_does_not_keep_are_refused(kms: "KMSClient") -> None:
    with pytest.raises(ClientError) as caught:
        kms.create_key(KeySpec="RSA_2048", KeyUsage="SIGN_VERIFY")
    assert code(caught) == "UnsupportedOperationException"
    with pytest.raises(ClientError) as caught:
        kms.describe_key(KeyId="alias/aws/s3")
    assert code(caught) == "NotFoundException"


def test_rotation_period_and_next_date_are_answered(kms: "KMSClient", key: str) -> None:
    assert kms.get_key_rotation_status(KeyId=key)["KeyRotationEnabled"] is False
    kms.enable_key_rotation(KeyId=key)
    status = kms.get_key_rotation_status(KeyId=key)
    assert status["RotationPeriodInDays"] == 365
    created = kms.describe_key(KeyId=key)["KeyMetadata"]["CreationDate"]
    assert (status["NextRotationDate"] - created).days == 365


def test_unsigned_requests_are_refused_and_liveness_answers(standin: KmsStandin) -> None:
    refused = httpx.post(standin.url, json={}, headers={"X-Amz-Target": "TrentService.ListKeys"})
    assert (refused.status_code, refused.json()["__type"]) == (400, "MissingAuthenticationTokenException")
    assert httpx.get(f"{standin.url}/livez").text == "ok"
    assert httpx.post(f"{standin.url}/moto-api/reset").status_code == 400


def test_endpoint_names_the_variables_that_point_boto3_at_it() -> None:
    endpoint = KmsStandin("http://127.0.0.1:1", pid=1)
    assert endpoint.environ()["AWS_ENDPOINT_URL_KMS"] == "http://127.0.0.1:1"
    assert endpoint.environ()["AWS_REGION"] == REGION


def test_calls_are_recorded_in_files_like_those_of_cloudtrail(ended: Ended) -> None:
    calls = [call for path in files_in([ended.folder / "cloudtrail"]) for call in read_calls(path)]
    assert [call.operation for call in calls] == ["CreateKey", "Encrypt", "Decrypt"]
    assert calls[1].request_id == ended.encrypted["ResponseMetadata"]["RequestId"]
    assert calls[2].keys == (ended.key,)
    assert calls[2].contexts == ({"purpose": "wallet-dek"},)
    assert calls[2].access_key == "local"
