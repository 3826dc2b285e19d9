"""The stand-in can be trusted: boto3 treats its answers as it treats those of KMS."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from http.client import HTTPConnection
from typing import Any

import botocore.session
import pytest
from boto3 import Session
from botocore.config import Config
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    ReadTimeoutError,
)

from kms_endpoint import (
    Delay,
    Empty,
    Error,
    Fault,
    FlippedPlaintext,
    Garbage,
    Hang,
    KmsEndpoint,
    LostReply,
    OtherKeyId,
    Reset,
    ShortPlaintext,
    Status,
    Truncated,
)

CONTEXT = {"purpose": "wallet-dek", "wallet_address": "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"}
DEK = bytes(range(32))
ALIAS = "alias/Empressa-wallet-key-1"
UNSUPPORTED = "UnsupportedOperationException"
SERVICE_MODEL: Any = botocore.session.get_session().get_service_model("kms")
MODELLED = sorted(shape.error_code for shape in SERVICE_MODEL.error_shapes)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[KmsEndpoint]:
    with KmsEndpoint() as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def client(endpoint: KmsEndpoint) -> Any:
    return _client(endpoint)


@pytest.fixture(scope="module")
def pool(endpoint: KmsEndpoint) -> list[str]:
    return endpoint.add_pool("Empressa-wallet-key", 3)


@pytest.fixture(autouse=True)
def _reset_endpoint(endpoint: KmsEndpoint, pool: list[str]) -> Iterator[None]:
    yield
    endpoint.clear()
    endpoint.requests.clear()
    for arn in pool:
        endpoint.key(arn).state = "Enabled"


def _client(endpoint: KmsEndpoint, *, region: str = "eu-central-1") -> Any:
    config = Config(retries={"total_max_attempts": 1}, connect_timeout=1, read_timeout=0.5)
    session = Session(aws_access_key_id="test", aws_secret_access_key="test", region_name=region)
    return session.client("kms", endpoint_url=endpoint.url, config=config)


def _wrap(client: Any, key: str = ALIAS) -> bytes:
    blob: bytes = client.encrypt(KeyId=key, Plaintext=DEK, EncryptionContext=CONTEXT)["CiphertextBlob"]
    return blob


def _code(error: pytest.ExceptionInfo[ClientError]) -> str:
    return str(error.value.response["Error"]["Code"])


def test_a_dek_comes_back_under_its_key_and_context(client: Any, pool: list[str]) -> None:
    answer = client.encrypt(KeyId=ALIAS, Plaintext=DEK, EncryptionContext=CONTEXT)
    assert answer["KeyId"] == pool[0]
    assert len(answer["CiphertextBlob"]) == 184
    assert DEK not in answer["CiphertextBlob"]
    opened = client.decrypt(CiphertextBlob=answer["CiphertextBlob"], EncryptionContext=CONTEXT)
    assert (opened["KeyId"], opened["Plaintext"]) == (pool[0], DEK)


def test_the_context_may_be_in_any_order_and_is_case_sensitive(client: Any) -> None:
    blob = _wrap(client)
    turned = dict(reversed(CONTEXT.items()))
    assert client.decrypt(CiphertextBlob=blob, EncryptionContext=turned)["Plaintext"] == DEK
    lowered = {name: value.lower() for name, value in CONTEXT.items()}
    with pytest.raises(client.exceptions.InvalidCiphertextException):
        client.decrypt(CiphertextBlob=blob, EncryptionContext=lowered)


def test_every_flipped_bit_of_a_blob_is_refused(client: Any, pool: list[str]) -> None:
    blob = bytearray(_wrap(client))
    for bit in range(0, len(blob) * 8, 41):
        blob[bit // 8] ^= 1 << bit % 8
        with pytest.raises(client.exceptions.InvalidCiphertextException):
            client.decrypt(CiphertextBlob=bytes(blob), KeyId=pool[0], EncryptionContext=CONTEXT)
        blob[bit // 8] ^= 1 << bit % 8


def test_decrypt_under_another_key_is_incorrect(client: Any, pool: list[str]) -> None:
    blob = _wrap(client)
    with pytest.raises(client.exceptions.IncorrectKeyException):
        client.decrypt(CiphertextBlob=blob, KeyId=pool[1], EncryptionContext=CONTEXT)


def test_re_encrypt_moves_a_dek_and_names_both_keys(client: Any, pool: list[str]) -> None:
    moved = client.re_encrypt(
        CiphertextBlob=_wrap(client),
        SourceKeyId=pool[0],
        SourceEncryptionContext=CONTEXT,
        DestinationKeyId=pool[1],
        DestinationEncryptionContext=CONTEXT | {"purpose": "other"},
    )
    assert (moved["SourceKeyId"], moved["KeyId"]) == (pool[0], pool[1])
    material = client.describe_key(KeyId=pool[1])["KeyMetadata"]["CurrentKeyMaterialId"]
    assert moved["DestinationKeyMaterialId"] == material != moved["SourceKeyMaterialId"]
    opened = client.decrypt(
        CiphertextBlob=moved["CiphertextBlob"],
        KeyId=pool[1],
        EncryptionContext=CONTEXT | {"purpose": "other"},
    )
    assert opened["Plaintext"] == DEK


def test_re_encrypt_checks_the_source_key(client: Any, pool: list[str]) -> None:
    with pytest.raises(client.exceptions.IncorrectKeyException):
        client.re_encrypt(
            CiphertextBlob=_wrap(client),
            SourceKeyId=pool[2],
            SourceEncryptionContext=CONTEXT,
            DestinationKeyId=pool[1],
        )


def test_blobs_outlive_a_rotation_of_their_key(client: Any, pool: list[str]) -> None:
    blob, before = _wrap(client), client.describe_key(KeyId=ALIAS)["KeyMetadata"]["CurrentKeyMaterialId"]
    client.rotate_key_on_demand(KeyId=pool[0])
    opened = client.decrypt(CiphertextBlob=blob, EncryptionContext=CONTEXT)
    assert (opened["Plaintext"], opened["KeyMaterialId"]) == (DEK, before)
    listed = client.list_key_rotations(KeyId=pool[0], IncludeKeyMaterial="ALL_KEY_MATERIAL")["Rotations"]
    assert [entry["KeyMaterialState"] for entry in listed] == ["NON_CURRENT", "CURRENT"]
    assert len(client.list_key_rotations(KeyId=pool[0])["Rotations"]) == 1


def test_generate_data_key_answers_the_dek_that_its_blob_holds(client: Any) -> None:
    made = client.generate_data_key(KeyId=ALIAS, KeySpec="AES_256", EncryptionContext=CONTEXT)
    opened = client.decrypt(CiphertextBlob=made["CiphertextBlob"], EncryptionContext=CONTEXT)
    assert opened["Plaintext"] == made["Plaintext"]
    assert len(made["Plaintext"]) == 32


@pytest.mark.parametrize(
    ("state", "code"), [("Disabled", "DisabledException"), ("PendingDeletion", "KMSInvalidStateException")]
)
def test_an_unusable_key_is_described_and_not_used(
    endpoint: KmsEndpoint, client: Any, pool: list[str], state: str, code: str
) -> None:
    blob = _wrap(client)
    endpoint.key(ALIAS).state = state
    assert client.describe_key(KeyId=ALIAS)["KeyMetadata"]["KeyState"] == state
    uses: dict[str, dict[str, Any]] = {
        "encrypt": {"KeyId": ALIAS, "Plaintext": DEK},
        "decrypt": {"CiphertextBlob": blob, "EncryptionContext": CONTEXT},
        "generate_data_key": {"KeyId": ALIAS, "KeySpec": "AES_256"},
        "re_encrypt": {
            "CiphertextBlob": blob,
            "SourceEncryptionContext": CONTEXT,
            "DestinationKeyId": pool[1],
        },
        "enable_key_rotation": {"KeyId": pool[0]},
    }
    for operation, arguments in uses.items():
        with pytest.raises(ClientError) as error:
            getattr(client, operation)(**arguments)
        assert _code(error) == code, operation


def test_a_key_lives_from_its_creation_to_its_scheduled_deletion_and_back(client: Any) -> None:
    tags = [{"TagKey": "service", "TagValue": "kms-service"}]
    key = client.create_key(Description="pool", Tags=tags)["KeyMetadata"]["KeyId"]
    client.create_alias(AliasName="alias/life", TargetKeyId=key)
    with pytest.raises(client.exceptions.AlreadyExistsException):
        client.create_alias(AliasName="alias/life", TargetKeyId=key)
    client.tag_resource(KeyId=key, Tags=[{"TagKey": "pool", "TagValue": "1"}])
    assert len(client.list_resource_tags(KeyId=key)["Tags"]) == 2
    assert client.get_key_rotation_status(KeyId=key)["KeyRotationEnabled"] is False
    client.enable_key_rotation(KeyId=key, RotationPeriodInDays=90)
    rotation = client.get_key_rotation_status(KeyId=key)
    assert rotation["RotationPeriodInDays"] == 90
    assert 89 <= (rotation["NextRotationDate"].timestamp() - time.time()) / 86_400 <= 90
    client.disable_key(KeyId=key)
    client.enable_key(KeyId=key)
    client.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
    with pytest.raises(client.exceptions.KMSInvalidStateException):
        client.enable_key(KeyId=key)
    client.cancel_key_deletion(KeyId=key)
    assert client.describe_key(KeyId="alias/life")["KeyMetadata"]["KeyState"] == "Disabled"
    client.delete_alias(AliasName="alias/life")
    with pytest.raises(client.exceptions.NotFoundException):
        client.describe_key(KeyId="alias/life")


def test_policies_are_kept_and_checked(client: Any, pool: list[str]) -> None:
    assert "kms:*" in client.get_key_policy(KeyId=pool[2])["Policy"]
    client.put_key_policy(KeyId=pool[2], Policy='{"Statement": [{"Effect": "Deny"}]}')
    assert "Deny" in client.get_key_policy(KeyId=pool[2])["Policy"]
    with pytest.raises(client.exceptions.MalformedPolicyDocumentException):
        client.put_key_policy(KeyId=pool[2], Policy="{")


def test_aliases_are_listed_in_pages_and_move(client: Any, pool: list[str]) -> None:
    pages = client.get_paginator("list_aliases").paginate(PaginationConfig={"PageSize": 2})
    names = [entry["AliasName"] for page in pages for entry in page["Aliases"]]
    assert names == [f"alias/Empressa-wallet-key-{number}" for number in (1, 2, 3)]
    client.update_alias(AliasName=names[2], TargetKeyId=pool[1])
    assert client.describe_key(KeyId=names[2])["KeyMetadata"]["Arn"] == pool[1]
    client.update_alias(AliasName=names[2], TargetKeyId=pool[2])


@pytest.mark.parametrize("identifier", ["alias/nobody", "0" * 8, "arn:aws:kms:us-east-1:111122223333:key/x"])
def test_an_unknown_key_is_not_found(client: Any, identifier: str) -> None:
    with pytest.raises(client.exceptions.NotFoundException):
        client.encrypt(KeyId=identifier, Plaintext=DEK)


def test_management_refuses_an_alias_as_kms_does(client: Any) -> None:
    with pytest.raises(client.exceptions.NotFoundException):
        client.disable_key(KeyId=ALIAS)


def test_a_dry_run_says_yes_by_its_own_error_and_no_by_the_usual_one(
    endpoint: KmsEndpoint, client: Any, pool: list[str]
) -> None:
    ignoring = {"KeyId": pool[0], "DryRun": True, "DryRunModifiers": ["IGNORE_CIPHERTEXT"]}
    asks: tuple[Callable[[], object], ...] = (
        lambda: client.encrypt(KeyId=ALIAS, Plaintext=DEK, DryRun=True),
        lambda: client.generate_data_key(KeyId=ALIAS, KeySpec="AES_256", DryRun=True),
        lambda: client.decrypt(**ignoring),
        lambda: client.re_encrypt(
            SourceKeyId=pool[0], DestinationKeyId=pool[1], DryRun=True, DryRunModifiers=["IGNORE_CIPHERTEXT"]
        ),
    )
    for ask in asks:
        with pytest.raises(client.exceptions.DryRunOperationException) as yes:
            ask()
        assert yes.value.response["ResponseMetadata"]["HTTPStatusCode"] == 412
    with pytest.raises(client.exceptions.InvalidCiphertextException):
        client.decrypt(CiphertextBlob=b"none", KeyId=pool[0], DryRun=True)
    endpoint.deny(ALIAS, "Decrypt")
    with pytest.raises(ClientError) as no:
        client.decrypt(**ignoring)
    assert _code(no) == "AccessDeniedException"


@pytest.mark.parametrize(
    "code", [*MODELLED, "ThrottlingException", "AccessDeniedException", "ExpiredTokenException"]
)
def test_every_error_arrives_as_its_own_code(endpoint: KmsEndpoint, client: Any, code: str) -> None:
    with endpoint.on("Encrypt").answer(Error(code)), pytest.raises(ClientError) as error:
        _wrap(client)
    assert _code(error) == code
    assert type(error.value).__name__ == (code if code in MODELLED else "ClientError")
    assert error.value.response["ResponseMetadata"]["RequestId"]
    assert endpoint.count("Encrypt", outcome=code) == 1


@pytest.mark.parametrize(
    ("fault", "seen"),
    [
        (Reset(), ConnectionClosedError),
        (LostReply(), ConnectionClosedError),
        (Hang(), ReadTimeoutError),
        (Status(503), ClientError),
    ],
    ids=str,
)
def test_a_broken_wire_is_seen_as_one(
    endpoint: KmsEndpoint, client: Any, fault: Fault, seen: type[Exception]
) -> None:
    with endpoint.on("Encrypt").answer(fault), pytest.raises(seen):
        _wrap(client)
    assert _wrap(client)


@pytest.mark.parametrize("fault", [Garbage(), Empty(), Truncated()], ids=str)
def test_a_broken_body_is_an_answer_without_members(endpoint: KmsEndpoint, client: Any, fault: Fault) -> None:
    # botocore raises nothing here: it takes what is no JSON for a message.
    endpoint.on("Encrypt").answer(fault)
    assert "CiphertextBlob" not in client.encrypt(KeyId=ALIAS, Plaintext=DEK)


def test_a_false_reply_changes_only_what_the_caller_sees(
    endpoint: KmsEndpoint, client: Any, pool: list[str]
) -> None:
    blob = _wrap(client)
    arguments = {"CiphertextBlob": blob, "KeyId": pool[0], "EncryptionContext": CONTEXT}
    with endpoint.on("Decrypt").answer(OtherKeyId(pool[1])):
        assert client.decrypt(**arguments)["KeyId"] == pool[1]
    with endpoint.on("Decrypt").answer(ShortPlaintext()):
        assert client.decrypt(**arguments)["Plaintext"] == DEK[:31]
    with endpoint.on("Decrypt").answer(FlippedPlaintext()):
        assert client.decrypt(**arguments)["Plaintext"] == b"\x01" + DEK[1:]
    assert client.decrypt(**arguments)["Plaintext"] == DEK


def test_a_lost_reply_has_had_its_effect(endpoint: KmsEndpoint, client: Any, pool: list[str]) -> None:
    with endpoint.on("CreateAlias").answer(LostReply()), pytest.raises(ConnectionClosedError):
        client.create_alias(AliasName="alias/lost", TargetKeyId=pool[0])
    client.delete_alias(AliasName="alias/lost")


def test_a_fault_keeps_to_its_key_and_number(endpoint: KmsEndpoint, client: Any, pool: list[str]) -> None:
    endpoint.on("Encrypt", key=ALIAS).times(2).answer(Error("ThrottlingException"))
    _wrap(client, pool[1])
    for _ in range(2):
        with pytest.raises(ClientError):
            _wrap(client)
    _wrap(client)
    assert endpoint.count("Encrypt", key=ALIAS) == 3
    assert endpoint.count("Encrypt", key=ALIAS, outcome="ThrottlingException") == 2


def test_random_faults_depend_on_the_seed_alone(endpoint: KmsEndpoint, client: Any) -> None:
    def outcomes() -> list[str]:
        endpoint.requests.clear()
        with endpoint.on("DescribeKey").at_random(0.3, seed=7).answer(Error("KMSInternalException")):
            for _ in range(100):
                try:
                    client.describe_key(KeyId=ALIAS)
                except ClientError:
                    continue
        return [each.outcome for each in endpoint.requests]

    first = outcomes()
    assert 15 < first.count("KMSInternalException") < 45
    assert outcomes() == first


def test_a_delay_comes_before_what_is_next(endpoint: KmsEndpoint, client: Any) -> None:
    endpoint.on("Encrypt").answer(Delay(0.2))
    endpoint.on("Encrypt").answer(Error("KMSInternalException"))
    began = time.monotonic()
    with pytest.raises(client.exceptions.KMSInternalException):
        _wrap(client)
    assert time.monotonic() - began >= 0.2


def test_a_hanging_call_goes_on_when_the_fault_ends(endpoint: KmsEndpoint, client: Any) -> None:
    rule = endpoint.on("Encrypt").answer(Hang())
    done: list[bytes] = []
    thread = threading.Thread(target=lambda: done.append(_wrap(client)))
    thread.start()
    endpoint.wait_for(1, "Encrypt")
    assert endpoint.count("Encrypt", outcome="pending") == 1
    rule.remove()
    thread.join()
    assert len(done) == 1


def test_the_record_holds_every_request(endpoint: KmsEndpoint, client: Any, pool: list[str]) -> None:
    blob = _wrap(client)
    client.decrypt(CiphertextBlob=blob, EncryptionContext=CONTEXT)
    asked, opened = endpoint.requests
    assert (asked.operation, asked.key_id, asked.keys) == ("Encrypt", ALIAS, (pool[0],))
    assert (asked.context, asked.signed, asked.outcome) == (CONTEXT, True, "ok")
    assert (opened.operation, opened.key_id, opened.keys) == ("Decrypt", None, (pool[0],))


def test_an_unsigned_request_is_refused(endpoint: KmsEndpoint) -> None:
    config = Config(signature_version=botocore.UNSIGNED, retries={"total_max_attempts": 1})
    client = Session(region_name="eu-central-1").client("kms", endpoint_url=endpoint.url, config=config)
    with pytest.raises(ClientError) as error:
        client.describe_key(KeyId=ALIAS)
    assert _code(error) == "MissingAuthenticationTokenException"


def test_leaving_ends_even_a_hanging_call() -> None:
    before = set(threading.enumerate())
    with KmsEndpoint() as endpoint:
        endpoint.add_pool("p", 1)
        endpoint.on().answer(Hang())
        with pytest.raises(ReadTimeoutError):
            _client(endpoint).describe_key(KeyId="alias/p-1")
    assert set(threading.enumerate()) <= before


def test_a_replica_opens_what_its_primary_wrapped() -> None:
    with KmsEndpoint() as first, KmsEndpoint(region="us-east-1", account=first.account) as second:
        here, there = _client(first), _client(second, region="us-east-1")
        key = here.create_key(MultiRegion=True)["KeyMetadata"]
        assert key["KeyId"].startswith("mrk-")
        made = here.replicate_key(KeyId=key["KeyId"], ReplicaRegion="us-east-1", Description="copy")
        replica = made["ReplicaKeyMetadata"]
        assert replica["Arn"] == key["Arn"].replace("eu-central-1", "us-east-1")
        for client in (here, there):
            places = client.describe_key(KeyId=key["KeyId"])["KeyMetadata"]["MultiRegionConfiguration"]
            assert places["PrimaryKey"] == {"Arn": key["Arn"], "Region": "eu-central-1"}
            assert places["ReplicaKeys"] == [{"Arn": replica["Arn"], "Region": "us-east-1"}]
        blob = _wrap(here, key["KeyId"])
        with first.on().answer(Status(500)):  # a Region that is away takes no other with it
            opened = there.decrypt(KeyId=replica["Arn"], CiphertextBlob=blob, EncryptionContext=CONTEXT)
        assert (opened["Plaintext"], opened["KeyId"]) == (DEK, replica["Arn"])
        assert (first.count("Decrypt"), second.count("Decrypt", key=replica["Arn"])) == (0, 1)
        there.disable_key(KeyId=key["KeyId"])
        assert here.decrypt(CiphertextBlob=blob, EncryptionContext=CONTEXT)["KeyId"] == key["Arn"]
        with pytest.raises(here.exceptions.NotFoundException):
            here.describe_key(KeyId=replica["Arn"])


def test_only_a_primary_key_is_replicated_and_only_once() -> None:
    with KmsEndpoint() as first, KmsEndpoint(region="us-east-1", account=first.account) as second:
        here, there = _client(first), _client(second, region="us-east-1")
        single = here.create_key()["KeyMetadata"]["KeyId"]
        with pytest.raises(here.exceptions.UnsupportedOperationException):
            here.replicate_key(KeyId=single, ReplicaRegion="us-east-1")
        key = here.create_key(MultiRegion=True)["KeyMetadata"]["KeyId"]
        here.replicate_key(KeyId=key, ReplicaRegion="us-east-1")
        with pytest.raises(here.exceptions.AlreadyExistsException):
            here.replicate_key(KeyId=key, ReplicaRegion="us-east-1")
        with pytest.raises(there.exceptions.UnsupportedOperationException):
            there.replicate_key(KeyId=key, ReplicaRegion="eu-west-1")


def test_a_signature_for_another_region_is_refused(endpoint: KmsEndpoint, pool: list[str]) -> None:
    with pytest.raises(ClientError) as error:
        _client(endpoint, region="us-east-1").describe_key(KeyId=pool[0])
    assert _code(error) == "InvalidSignatureException"


def test_the_record_names_the_principal_and_the_request(endpoint: KmsEndpoint, client: Any) -> None:
    answer = client.describe_key(KeyId=ALIAS)
    (received,) = endpoint.requests
    assert received.principal is None
    assert received.call.request_id == answer["ResponseMetadata"]["RequestId"]


SIGNING = {"KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY"}
DIGEST = {"MessageType": "DIGEST", "SigningAlgorithm": "ECDSA_SHA_256"}


@pytest.mark.parametrize(
    ("operation", "arguments", "code"),
    [
        ("create_grant", {"KeyId": ALIAS, "GranteePrincipal": "a", "Operations": ["Decrypt"]}, UNSUPPORTED),
        ("create_key", {"KeySpec": "HMAC_256", "KeyUsage": "GENERATE_VERIFY_MAC"}, UNSUPPORTED),
        ("create_key", {"KeySpec": "ECC_NIST_P256"}, "ValidationException"),
        ("create_key", {"Policy": '{"Statement": []}'}, "MalformedPolicyDocumentException"),
        ("create_alias", {"AliasName": "alias/a b", "TargetKeyId": "0"}, "InvalidAliasNameException"),
        ("delete_alias", {"AliasName": "alias/nobody"}, "NotFoundException"),
        ("update_alias", {"AliasName": "alias/nobody", "TargetKeyId": "0"}, "NotFoundException"),
        ("list_keys", {"Marker": "none"}, "InvalidMarkerException"),
        ("encrypt", {"KeyId": ALIAS, "Plaintext": bytes(4097)}, "ValidationException"),
        ("generate_data_key", {"KeyId": ALIAS}, "ValidationException"),
        ("get_public_key", {"KeyId": ALIAS}, "InvalidKeyUsageException"),
        (
            "decrypt",
            {"KeyId": ALIAS, "DryRunModifiers": ["IGNORE_CIPHERTEXT"], "DryRun": False},
            "ValidationException",
        ),
    ],
    ids=str,
)
def test_anything_that_kms_refuses_is_refused_with_the_same_code(
    client: Any, operation: str, arguments: dict[str, Any], code: str
) -> None:
    with pytest.raises(ClientError) as error:
        getattr(client, operation)(**arguments)
    assert _code(error) == code


@pytest.mark.parametrize(
    ("operation", "arguments", "code"),
    [
        ("schedule_key_deletion", {"PendingWindowInDays": 31}, "ValidationException"),
        ("cancel_key_deletion", {}, "KMSInvalidStateException"),
        ("enable_key_rotation", {"RotationPeriodInDays": 2561}, "ValidationException"),
        ("sign", {"Message": DEK, "SigningAlgorithm": "ECDSA_SHA_256"}, "InvalidKeyUsageException"),
    ],
    ids=str,
)
def test_anything_that_kms_refuses_for_a_key_is_refused_with_the_same_code(
    client: Any, pool: list[str], operation: str, arguments: dict[str, Any], code: str
) -> None:
    with pytest.raises(ClientError) as error:
        getattr(client, operation)(KeyId=pool[0], **arguments)
    assert _code(error) == code


def test_a_signing_key_signs_and_does_nothing_else(client: Any) -> None:
    key = client.create_key(**SIGNING)["KeyMetadata"]["KeyId"]
    signature = client.sign(KeyId=key, Message=DEK, **DIGEST)["Signature"]
    assert client.verify(KeyId=key, Message=DEK, Signature=signature, **DIGEST)["SignatureValid"]
    refused: list[tuple[str, Callable[[], object]]] = [
        ("ValidationException", lambda: client.sign(KeyId=key, Message=DEK[1:], **DIGEST)),
        (
            "InvalidKeyUsageException",
            lambda: client.sign(KeyId=key, Message=DEK, SigningAlgorithm="ECDSA_SHA_384"),
        ),
        ("DryRunOperationException", lambda: client.sign(KeyId=key, Message=DEK, DryRun=True, **DIGEST)),
        ("InvalidKeyUsageException", lambda: client.encrypt(KeyId=key, Plaintext=DEK)),
        (UNSUPPORTED, lambda: client.rotate_key_on_demand(KeyId=key)),
    ]
    for code, ask in refused:
        with pytest.raises(ClientError) as error:
            ask()
        assert _code(error) == code


def test_description_tags_and_rotation_of_a_key_can_be_changed(client: Any) -> None:
    key = client.create_key(Tags=[{"TagKey": "a", "TagValue": "1"}])["KeyMetadata"]["KeyId"]
    client.update_key_description(KeyId=key, Description="other")
    client.untag_resource(KeyId=key, TagKeys=["a"])
    client.enable_key_rotation(KeyId=key)
    client.disable_key_rotation(KeyId=key)
    assert client.describe_key(KeyId=key)["KeyMetadata"]["Description"] == "other"
    assert client.list_resource_tags(KeyId=key)["Tags"] == []
    assert client.get_key_rotation_status(KeyId=key)["KeyRotationEnabled"] is False
    made = client.generate_data_key_without_plaintext(KeyId=key, KeySpec="AES_256")
    assert "Plaintext" not in made
    assert len(client.decrypt(CiphertextBlob=made["CiphertextBlob"])["Plaintext"]) == 32


def test_a_replica_is_not_rotated_by_itself() -> None:
    with KmsEndpoint() as first, KmsEndpoint(region="us-east-1", account=first.account) as second:
        here, there = _client(first), _client(second, region="us-east-1")
        key = here.create_key(MultiRegion=True)["KeyMetadata"]["KeyId"]
        here.replicate_key(KeyId=key, ReplicaRegion="us-east-1")
        with pytest.raises(there.exceptions.UnsupportedOperationException):
            there.rotate_key_on_demand(KeyId=key)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("{", "SerializationException"),
        ("{}", "ValidationException"),
        ('{"CiphertextBlob": "no base64"}', "ValidationException"),
    ],
)
def test_a_body_that_boto3_would_not_send_is_refused(endpoint: KmsEndpoint, body: str, code: str) -> None:
    scope = f"Credential=test/20260101/{endpoint.region}/kms/aws4_request"
    headers = {"Authorization": f"AWS4-HMAC-SHA256 {scope}", "X-Amz-Target": "TrentService.Decrypt"}
    host, port = endpoint.url.removeprefix("http://").split(":")
    with closing(HTTPConnection(host, int(port), timeout=5)) as connection:
        connection.request("POST", "/", body, headers | {"Connection": "close"})
        assert json.loads(connection.getresponse().read())["__type"] == code


def test_anything_that_is_not_http_is_cut_off(endpoint: KmsEndpoint) -> None:
    host, port = endpoint.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(b"nonsense\r\n\r\n")
        assert connection.recv(1) == b""
