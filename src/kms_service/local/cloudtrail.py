"""Files as CloudTrail would have written them about the stand-in's requests, in the folders that S3 has.

Shaped after https://docs.aws.amazon.com/kms/latest/developerguide/understanding-kms-entries.html. KMS leaves
ciphertexts, plaintexts and whatever else is secret out of its records, and so does this.
"""

import gzip
import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kms_service.local.kms.protocol import Received

_FILE_SECONDS = 300  # CloudTrail ends a file about every five minutes
_SHOWN = {
    "KeyId": "keyId",
    "SourceKeyId": "sourceKeyId",
    "DestinationKeyId": "destinationKeyId",
    "EncryptionContext": "encryptionContext",
    "SourceEncryptionContext": "sourceEncryptionContext",
    "DestinationEncryptionContext": "destinationEncryptionContext",
    "DryRun": "dryRun",
    "AliasName": "aliasName",
    "TargetKeyId": "targetKeyId",
}
# CloudTrail's own names of errors.
_ERRORS = {"AccessDeniedException": "AccessDenied"}
# Outcomes of requests that KMS never saw, or has not answered yet.
_NOT_SEEN = ("HTTP ", "pending", "garbage", "empty")
_DONE = ("ok", "reset", "truncated", "lie about")


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose credentials a request carried, and where it came from: a session of an assumed role."""

    role: str
    session: str
    access_key: str
    source_ip: str
    user_agent: str

    def facts(self) -> dict[str, Any]:
        """`userIdentity` of a record."""
        account, name = self.role.split(":")[4], self.role.rpartition("/")[2]
        return {
            "type": "AssumedRole",
            "principalId": f"AROAEXAMPLE:{self.session}",
            "arn": f"arn:aws:sts::{account}:assumed-role/{name}/{self.session}",
            "accountId": account,
            "accessKeyId": self.access_key,
            "sessionContext": {
                "sessionIssuer": {
                    "type": "Role",
                    "principalId": "AROAEXAMPLE",
                    "arn": self.role,
                    "accountId": account,
                    "userName": name,
                },
                "attributes": {"mfaAuthenticated": "false"},
            },
        }


def record_of(received: Received, identity: Identity) -> dict[str, Any] | None:
    """The record that CloudTrail would write of a request; None if KMS never saw it."""
    if received.outcome.startswith(_NOT_SEEN):
        return None
    asked = {shown: received.params[name] for name, shown in _SHOWN.items() if name in received.params}
    if received.operation in ("Decrypt", "Encrypt"):
        asked["encryptionAlgorithm"] = "SYMMETRIC_DEFAULT"
    done = received.outcome.startswith(_DONE)
    account = identity.role.split(":")[4]
    return {
        "eventVersion": "1.11",
        "userIdentity": identity.facts(),
        "eventTime": datetime.fromtimestamp(received.at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "eventSource": "kms.amazonaws.com",
        "eventName": received.operation,
        "awsRegion": received.call.region,
        "sourceIPAddress": identity.source_ip,
        "userAgent": identity.user_agent,
        **({} if done else _refusal(received.outcome)),
        "requestParameters": asked,
        "responseElements": None,
        "requestID": received.call.request_id,
        "eventID": str(uuid.uuid4()),
        "readOnly": received.call.changes_nothing,
        "resources": [{"accountId": account, "type": "AWS::KMS::Key", "ARN": arn} for arn in received.keys],
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "recipientAccountId": account,
        "eventCategory": "Management",
    }


def write_trail(folder: Path, records: Iterable[Mapping[str, Any]]) -> list[Path]:
    """Write records as new files under `folder`, one per Region and five minutes; return their paths."""
    files: dict[tuple[str, str, int], list[Mapping[str, Any]]] = {}
    for record in records:
        at = int(datetime.fromisoformat(record["eventTime"]).timestamp()) // _FILE_SECONDS * _FILE_SECONDS
        files.setdefault((record["recipientAccountId"], record["awsRegion"], at), []).append(record)
    return [_write(folder, *place, inside) for place, inside in files.items()]


class Trail:
    """Collects the records of a running stand-in, and writes them to `folder` when told."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._records: list[dict[str, Any]] = []

    def add(self, received: Received, account: str) -> None:
        """Take an answered request; its access key stands for a session of the one role there is."""
        role = f"arn:aws:iam::{account}:role/kms-service"
        caller = Identity(role, received.call.access_key, received.call.access_key, "127.0.0.1", "unknown")
        record = record_of(received, caller)
        if record is not None:
            self._records.append(record)

    def write(self) -> None:
        """Write what was collected since the last time, as new files."""
        records, self._records = self._records, []
        write_trail(self._folder, records)


def _write(folder: Path, account: str, region: str, at: int, records: Sequence[Mapping[str, Any]]) -> Path:
    time = datetime.fromtimestamp(at, UTC)
    name = f"{account}_CloudTrail_{region}_{time:%Y%m%dT%H%MZ}_{uuid.uuid4().hex[:16]}.json.gz"
    path = folder / f"AWSLogs/{account}/CloudTrail/{region}/{time:%Y/%m/%d}" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(json.dumps({"Records": records}).encode()))
    return path


def _refusal(outcome: str) -> dict[str, str]:
    return {"errorCode": _ERRORS.get(outcome, outcome), "errorMessage": "refused"}
