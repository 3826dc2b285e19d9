"""CloudTrail records and rows of ours, made by hand for the rules that join them."""

import gzip
import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from kms_service.local.cloudtrail import Identity, record_of
from kms_service.local.kms.protocol import Call, Received
from kms_service.service.evidence.cloudtrail import files_in, read_calls
from kms_service.service.evidence.ledger import Ledger, LostAnswer, RecordedRequest
from kms_service.service.evidence.reconcile import Reconciliation, Window, reconcile

KEY = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
OTHER = "arn:aws:kms:eu-central-1:111122223333:key/0987dcba-09fe-87dc-65ba-ab0987654321"
FOREIGN = "arn:aws:kms:eu-central-1:999988887777:key/99999999-12ab-34cd-56ef-1234567890ab"
ROLE = "arn:aws:iam::111122223333:role/kms-service-serve"
ADDRESS = "0x2b3777eDA9CB4c30Ca40f08820Ab4b27128B4644"
AT = datetime(2026, 11, 10, 12, 0, tzinfo=UTC)
SERVICE = Identity(ROLE, "i-0123", "ASIASERVICE", "10.0.0.7", "aiohttp")
STRANGER = Identity(
    "arn:aws:iam::111122223333:role/Mallory", "m", "ASIAMALLORY", "198.51.100.7", "Boto3/1.40"
)
# Credentials of the service, used elsewhere.
THIEF = replace(SERVICE, access_key="ASIASTOLEN", source_ip="198.51.100.7", user_agent="Boto3/1.40")


def context(address: str = ADDRESS) -> dict[str, str]:
    return {"purpose": "wallet-dek", "wallet_address": address}


def record(
    operation: str,
    *,
    by: Identity = SERVICE,
    at: float = 0.0,
    outcome: str = "ok",
    keys: Sequence[str] = (KEY,),
    region: str = "eu-central-1",
    **params: Any,
) -> dict[str, Any]:
    """A record of a request, seconds after noon."""
    if operation in ("Decrypt", "Encrypt"):
        params.setdefault("EncryptionContext", context())
    call = Call(operation, params, region, str(uuid.uuid4()), by.access_key)
    received = Received(call, tuple(keys), None, AT.timestamp() + at, outcome)
    made = record_of(received, by)
    assert made is not None
    return made


def row(of: Mapping[str, Any], action: str = "private_key.read", **changes: Any) -> RecordedRequest:
    """The audit row about a record's request."""
    told = RecordedRequest(
        request_id=of["requestID"],
        id=int(uuid.uuid4()) % 10**9,
        at=datetime.fromisoformat(of["eventTime"]) + timedelta(milliseconds=20),
        actor="checkout",
        action=action,
        outcome="ok",
        user_id="user-1",
        wallet_address=ADDRESS,
        kms_key_id=KEY,
        listed=False,
    )
    return replace(told, **changes)


def reconcile_files(
    folder: Path,
    records: Iterable[Mapping[str, Any]],
    rows: Iterable[RecordedRequest] = (),
    lost: Iterable[LostAnswer] = (),
    **changes: Any,
) -> Reconciliation:
    """Reconcile a file of these records with these rows."""
    path = folder / "trail.json"
    path.write_text(json.dumps({"Records": list(records)}))
    with Ledger() as ledger:
        for file in files_in([path]):
            ledger.add_calls(read_calls(file))
        ledger.add_requests(rows)
        ledger.add_lost(lost)
        ledger.index()
        window = Window(AT - timedelta(hours=1), AT + timedelta(hours=1), AT + timedelta(hours=1))
        options: dict[str, Any] = {"principals": [ROLE], "administrators": [], "keys": [KEY, OTHER]}
        return reconcile(ledger, window, on_call=lambda: None, **{**options, **changes})


def write_gzip(path: Path, records: Sequence[Mapping[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(json.dumps({"Records": records}).encode()))
    return path
