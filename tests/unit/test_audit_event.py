"""The fields of an audit event are listed once, so that none can be forgotten on the way."""

import uuid
from dataclasses import fields
from datetime import UTC, datetime

from kms_service.api.operations.audit import AuditEvent, event_view
from kms_service.service.audit.chains import covered_fields
from kms_service.service.evidence import bundle
from kms_service.store.audit.events import COLUMNS, AuditRow, Event
from kms_service.store.audit.trail import StoredRow

_CHAIN = uuid.UUID(int=7)
_AT = datetime(2026, 11, 1, 12, 30, tzinfo=UTC)
_EVENT = Event("private_key.read", "sealed", "alice", "0xA1", "arn:key", "kms-1", "because")
_ROW = AuditRow(_CHAIN, 3, _AT, "checkout", "request-1", _EVENT, b"\x01")
# What ties a row to its chain, of which auditors read in the evidence bundle.
_LINK = {"audit_chain_id", "seq", "mac"}


def test_a_mac_covers_these_fields_in_this_order() -> None:
    assert covered_fields(_ROW) == [
        "00000000-0000-0000-0000-000000000007",
        "3",
        "2026-11-01T12:30:00.000000+00:00",
        "checkout",
        "private_key.read",
        "sealed",
        "alice",
        "0xA1",
        "request-1",
        "arn:key",
        "kms-1",
        "because",
    ]


def test_every_field_has_a_column_and_every_column_a_field() -> None:
    named = [field.name for kind in (AuditRow, Event) for field in fields(kind) if field.name != "event"]
    assert sorted(named) == sorted(COLUMNS)
    assert list(_ROW.columns()) == list(COLUMNS)


def test_an_answer_shows_every_field_of_an_event() -> None:
    assert set(AuditEvent.model_fields) == {"id", *COLUMNS} - _LINK
    shown = event_view(StoredRow(9, _ROW)).model_dump()
    assert {name: shown[name] for name in shown if name not in {"id", "at"}} == {
        name: value for name, value in _ROW.columns().items() if name not in _LINK | {"at"}
    }


def test_an_evidence_bundle_holds_every_field_of_an_event() -> None:
    names = ["chain", *(AuditEvent.model_fields[name].alias or name for name in COLUMNS[2:-1])]
    assert [name for name in bundle._NAMES if name != "seq"] == names
