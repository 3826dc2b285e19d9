"""CloudTrail's files are read as S3 holds them, and what is not whole is refused."""

import json
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from evidence.trail import KEY, OTHER, record, write_gzip
from kms_service.errors import InvalidRequest
from kms_service.service.evidence.cloudtrail import files_in, read_calls
from kms_service.service.evidence.ledger import Ledger

# As in https://docs.aws.amazon.com/kms/latest/developerguide/ct-decrypt.html, and in ct-reencrypt.html there.
USER = {
    "type": "IAMUser",
    "principalId": "EX_PRINCIPAL_ID",
    "arn": "arn:aws:iam::111122223333:user/Alice",
    "accountId": "111122223333",
    "accessKeyId": "EXAMPLE_KEY_ID",
    "userName": "Alice",
}
DECRYPT: dict[str, Any] = {
    "eventVersion": "1.11",
    "userIdentity": USER,
    "eventTime": "2025-05-20T20:45:00Z",
    "eventSource": "kms.amazonaws.com",
    "eventName": "Decrypt",
    "awsRegion": "us-west-2",
    "sourceIPAddress": "192.0.2.0",
    "userAgent": "AWS Internal",
    "requestParameters": {
        "encryptionAlgorithm": "SYMMETRIC_DEFAULT",
        "keyId": KEY,
        "encryptionContext": {"Department": "Engineering", "Project": "Alpha"},
    },
    "responseElements": None,
    "requestID": "12345126-30d5-4b28-98b9-9153da559963",
    "eventID": "abcde202-ba1a-467c-b4ba-f729d45ae521",
    "readOnly": True,
    "resources": [{"accountId": "111122223333", "type": "AWS::KMS::Key", "ARN": KEY}],
    "eventType": "AwsApiCall",
    "recipientAccountId": "111122223333",
}
RE_ENCRYPT = DECRYPT | {
    "eventName": "ReEncrypt",
    "requestParameters": {
        "sourceEncryptionContext": {"Project": "Alpha"},
        "destinationKeyId": OTHER.rpartition("/")[2],
        "destinationEncryptionContext": {"Level": "3A"},
    },
    "requestID": "03769fd4-acf9-4b33-adf3-2ab8ca73aadf",
    "eventID": "542d9e04-0e8d-4e05-bf4b-4bdeb032e6ec",
    "resources": [{"ARN": KEY, "type": "AWS::KMS::Key"}, {"ARN": OTHER, "type": "AWS::KMS::Key"}],
}


def _write(path: Path, *records: dict[str, Any]) -> Path:
    path.write_text(json.dumps({"Records": records}, indent=2))
    return path


def test_a_decrypt_is_read_as_aws_publishes_it(tmp_path: Path) -> None:
    (call,) = read_calls(_write(tmp_path / "a.json", DECRYPT))
    assert call.at == datetime(2025, 5, 20, 20, 45, tzinfo=UTC)
    assert (call.operation, call.keys, call.error) == ("Decrypt", (KEY,), None)
    assert (call.principal, call.session) == (USER["arn"], USER["arn"])
    assert (call.access_key, call.source_ip, call.user_agent) == (
        "EXAMPLE_KEY_ID",
        "192.0.2.0",
        "AWS Internal",
    )
    assert call.contexts == ({"Department": "Engineering", "Project": "Alpha"},)


def test_a_re_encrypt_is_read_as_aws_publishes_it(tmp_path: Path) -> None:
    (call,) = read_calls(_write(tmp_path / "a.json", RE_ENCRYPT))
    assert call.keys == (KEY, OTHER)
    assert call.contexts == ({"Project": "Alpha"}, {"Level": "3A"})


def test_a_role_is_known_by_its_own_name_and_not_its_session(tmp_path: Path) -> None:
    issuer = {"type": "Role", "arn": "arn:aws:iam::1:role/serve"}
    identity = {"type": "AssumedRole", "arn": "arn:aws:sts::1:assumed-role/serve/i-1"}
    changed = DECRYPT | {"userIdentity": identity | {"sessionContext": {"sessionIssuer": issuer}}}
    (call,) = read_calls(_write(tmp_path / "a.json", changed))
    assert (call.principal, call.session) == (issuer["arn"], identity["arn"])


@pytest.mark.parametrize(
    ("identity", "principal"),
    [
        ({"type": "AWSService", "invokedBy": "rds.amazonaws.com"}, "rds.amazonaws.com"),
        (
            {"type": "AssumedRole", "arn": "arn:aws:sts::1:assumed-role/serve/i-1"},
            "arn:aws:iam::1:role/serve",
        ),
        ({"type": "AWSAccount", "principalId": "AIDA", "accountId": "9"}, "AIDA"),
        ({"type": "AWSAccount", "accountId": "9"}, "account 9"),
        (None, "account unknown"),
    ],
)
def test_every_kind_of_identity_has_a_name(
    tmp_path: Path, identity: dict[str, str] | None, principal: str
) -> None:
    (call,) = read_calls(_write(tmp_path / "a.json", DECRYPT | {"userIdentity": identity}))
    assert call.principal == principal


def test_a_refused_call_without_resources_belongs_to_the_key_it_asked_for(tmp_path: Path) -> None:
    refused = {name: value for name, value in DECRYPT.items() if name != "resources"}
    (call,) = read_calls(_write(tmp_path / "a.json", refused | {"errorCode": "AccessDenied"}))
    assert (call.keys, call.error) == ((KEY,), "AccessDenied")


def test_other_services_and_digests_are_ignored(tmp_path: Path) -> None:
    assert not list(read_calls(_write(tmp_path / "a.json", DECRYPT | {"eventSource": "s3.amazonaws.com"})))
    assert not list(read_calls(_write(tmp_path / "b.json")))
    digest = tmp_path / "c.json"
    digest.write_text(
        json.dumps({"awsAccountId": "1", "digestStartTime": "2026-11-10T12:00:00Z", "logFiles": []})
    )
    assert not list(read_calls(digest))


def test_a_folder_of_files_out_of_order_and_with_duplicates_is_read_once(tmp_path: Path) -> None:
    records = [record("Decrypt", at=second) for second in range(50)]
    write_gzip(tmp_path / "2026/11/10/b.json.gz", records[25:])
    write_gzip(tmp_path / "2026/11/11/a.json.gz", records[:30])
    _write(tmp_path / "2026/c.json", *records[10:20])
    (tmp_path / "2026/notes.txt").write_text("not CloudTrail's")
    with Ledger() as ledger:
        new = [ledger.add_calls(read_calls(path)) for path in files_in([tmp_path, tmp_path / "2026"])]
        assert sum(new) == 50
        ledger.index()
        pairs = list(ledger.pairs(datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)))
    assert [call.request_id for call, _ in pairs] == [each["requestID"] for each in records]


@pytest.mark.parametrize("damage", [
    b"", b"{}", b"[]", b'{"Records": [', b'{"Records": [{}]}', b"\x1f\x8b\x08\x00", b"\xff\xfe",
    b'{"Records": [{"eventSource": "kms.amazonaws.com", "eventID": "1", "eventTime": "x"}]}',
])  # fmt: skip
def test_a_damaged_file_is_refused_by_name(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "damaged.json"
    path.write_bytes(damage)
    if damage == b'{"Records": [{}]}':
        assert not list(read_calls(path))  # a record of no service
        return
    with pytest.raises(InvalidRequest, match=r"damaged\.json is no whole file"):
        list(read_calls(path))


@pytest.mark.parametrize("cut", [1, 100, 700, 5000])
def test_a_file_that_is_cut_off_is_refused(tmp_path: Path, cut: int) -> None:
    packed = write_gzip(tmp_path / "whole.json.gz", [record("Decrypt") for _ in range(200)])
    packed.write_bytes(packed.read_bytes()[:-cut])
    with pytest.raises(InvalidRequest):
        list(read_calls(packed))
    plain = _write(tmp_path / "a.json", *[record("Decrypt") for _ in range(20)])
    plain.write_bytes(plain.read_bytes()[: -max(cut, 10)])
    with pytest.raises(InvalidRequest):
        list(read_calls(plain))


def test_paths_without_a_file_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InvalidRequest, match="holds no file"):
            files_in([path])


def test_one_long_file_does_not_fill_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "long.json"
    text = json.dumps(DECRYPT)
    with path.open("w") as file:
        file.write('{"Records": [')
        for number in range(20_000):
            file.write(("," if number else "") + text)
        file.write("]}")
    assert path.stat().st_size > 15_000_000
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_calls(path)) == 20_000
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()
