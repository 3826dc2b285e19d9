"""Reads CloudTrail's files, as they are in S3, one record at a time: who asked KMS for what.

A file is `{"Records": […]}`, plain or gzipped. Records are in no order, and some occur twice.
https://docs.aws.amazon.com/kms/latest/developerguide/understanding-kms-entries.html
"""

import gzip
import json
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from kms_service.errors import InvalidRequest

SOURCE = "kms.amazonaws.com"
_SUFFIXES = (".json", ".json.gz", ".gz")
_GZIP = b"\x1f\x8b"
_BLOCK = 1 << 20
_SESSION = re.compile(r"arn:([a-z-]+):sts::(\d+):assumed-role/([^/]+)/.+")
_BLANK = " \t\r\n"
# Marks the files that CloudTrail puts beside its logs, to prove that none was changed.
_DIGEST = '"digestStartTime"'


@dataclass(frozen=True, slots=True)
class KmsCall:
    """One request to KMS, as CloudTrail recorded it.

    Attributes:
        event_id: the record's id, the same in all copies of it.
        principal: the role, user or service whose credentials were used.
        session: the assumed role's session; if there is none, the principal.
        keys: the KMS key that was used, by ARN if CloudTrail gives it; for ReEncrypt, source and destination.
        contexts: the encryption contexts in the order of the keys; empty if there was none.
        error: why KMS did not do it; None if it did. A dry run has an error too.
    """

    event_id: str
    request_id: str
    at: datetime
    operation: str
    region: str
    principal: str
    session: str
    access_key: str
    source_ip: str
    user_agent: str
    keys: tuple[str, ...]
    contexts: tuple[Mapping[str, str], ...]
    error: str | None


def files_in(paths: Sequence[Path]) -> list[Path]:
    """The given files, and all of CloudTrail's files in the given folders, in order.

    Raises:
        InvalidRequest: a path does not exist, or a folder holds no such file.
    """
    found: dict[Path, None] = {}
    for path in paths:
        try:
            inside = _find_files(path)
        except OSError:  # not a possible name, or not readable
            inside = []
        if not inside:
            raise InvalidRequest(f"{path} holds no file of CloudTrail", "cloudtrail")
        found.update(dict.fromkeys(inside))
    return list(found)


def _find_files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(each for each in path.rglob("*") if each.name.endswith(_SUFFIXES))
    return [path] if path.is_file() else []


def read_calls(path: Path) -> Iterator[KmsCall]:
    """Every call to KMS in one file; records of other services are skipped.

    Raises:
        InvalidRequest: the file is cut off, damaged or not CloudTrail's, so it would prove nothing.
    """
    try:
        with _open(path) as file:
            for record in _records(file):
                if record.get("eventSource") == SOURCE:
                    yield _call(record)
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidRequest(f"{path} is no whole file of CloudTrail: {error}", "cloudtrail") from None


def _open(path: Path) -> IO[str]:
    with path.open("rb") as file:
        packed = file.read(2) == _GZIP
    return gzip.open(path, "rt", encoding="utf-8") if packed else path.open(encoding="utf-8")


def _records(file: IO[str]) -> Iterator[dict[str, Any]]:
    """The members of `Records`, decoded one by one, however long the file is."""
    text, decoder = file.read(_BLOCK), json.JSONDecoder()
    if "Records" not in text and _DIGEST in text:
        return
    start = text.index("[", text.index('"Records"')) + 1
    while True:
        while start < len(text) and text[start] in _BLANK + ",":
            start += 1
        if text.startswith("]", start):
            return
        try:
            record, start = decoder.raw_decode(text, start)
        except ValueError:
            # The block ends inside a record: read more.
            more = file.read(_BLOCK)
            if not more:
                raise ValueError("it ends amid its records") from None
            text, start = text[start:] + more, 0
        else:
            yield record


def _call(record: Mapping[str, Any]) -> KmsCall:
    identity = record.get("userIdentity") or {}
    asked = record.get("requestParameters") or {}
    context = asked.get("encryptionContext") or asked.get("sourceEncryptionContext") or {}
    moved = record["eventName"] == "ReEncrypt"
    principal = _principal(identity)
    return KmsCall(
        # Both accounts get a record of a call to another account's key, with a shared id.
        event_id=record.get("sharedEventID") or record["eventID"],
        request_id=record.get("requestID") or "",
        at=datetime.fromisoformat(record["eventTime"]).astimezone(UTC),
        operation=record["eventName"],
        region=record.get("awsRegion") or "",
        principal=principal,
        session=identity.get("arn") or principal,
        access_key=identity.get("accessKeyId") or "",
        source_ip=record.get("sourceIPAddress") or "",
        user_agent=record.get("userAgent") or "",
        keys=_keys(record, asked),
        contexts=(context, asked.get("destinationEncryptionContext") or {}) if moved else (context,),
        error=record.get("errorCode"),
    )


def _principal(identity: Mapping[str, Any]) -> str:
    issuer = (identity.get("sessionContext") or {}).get("sessionIssuer") or {}
    names = (issuer.get("arn"), identity.get("arn"), identity.get("invokedBy"), identity.get("principalId"))
    told = next((str(name) for name in names if name), f"account {identity.get('accountId') or 'unknown'}")
    session = _SESSION.fullmatch(told)
    if session is None:
        return told
    # The record does not name the role behind a session: derive it, so that all sessions are one principal.
    partition, account, role = session.groups()
    return f"arn:{partition}:iam::{account}:role/{role}"


def _keys(record: Mapping[str, Any], asked: Mapping[str, Any]) -> tuple[str, ...]:
    used = [each["ARN"] for each in record.get("resources") or () if ":key/" in each.get("ARN", "")]
    # The record of a refused call may name no resource, but the key that was asked for.
    first = used[0] if used else str(asked.get("keyId") or asked.get("sourceKeyId") or "")
    if record["eventName"] != "ReEncrypt":
        return (first,)
    return first, used[-1] if len(used) > 1 else str(asked.get("destinationKeyId") or "")
