"""Every use of our keys is explained by our log, or reported with who did it, to whom, from where, when."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from evidence.trail import (
    ADDRESS,
    AT,
    FOREIGN,
    KEY,
    OTHER,
    ROLE,
    SERVICE,
    STRANGER,
    THIEF,
    context,
    reconcile_files,
    record,
    row,
)
from kms_service.service.audit.requests import LISTED, listed_requests, listings
from kms_service.service.evidence.ledger import LostAnswer
from kms_service.service.evidence.reconcile import Explained, Trouble

MOVE = {"SourceEncryptionContext": context(), "DestinationEncryptionContext": context()}


def test_a_release_is_explained_by_its_row(tmp_path: Path) -> None:
    calls = [record("Decrypt"), record("Encrypt")]
    rows = [row(calls[0]), row(calls[1], "wallet.create")]
    done = reconcile_files(tmp_path, calls, rows)
    assert (done.calls, done.found, dict(done.explained)) == (2, 0, {Explained.ROW: 2})


def test_a_decrypt_with_the_stolen_role_is_reported_with_everything_known(tmp_path: Path) -> None:
    calls = [record("Decrypt"), record("Decrypt", by=THIEF, at=60.0)]
    done = reconcile_files(tmp_path, calls, [row(calls[0])])
    (finding,) = done.findings
    assert finding.trouble is Trouble.UNEXPLAINED
    assert finding.call is not None
    assert (finding.call.principal, finding.call.wallet_address) == (ROLE, ADDRESS)
    assert (finding.call.source_ip, finding.call.access_key) == (THIEF.source_ip, THIEF.access_key)
    assert finding.says == (
        f"2026-11-10T12:01:00Z Decrypt of {ADDRESS} by arn:aws:sts::111122223333:assumed-role/"
        "kms-service-serve/i-0123 from 198.51.100.7, and no audit row explains it"
    )


@pytest.mark.parametrize("operation", ["Decrypt", "Encrypt", "ReEncrypt", "GenerateDataKey"])
@pytest.mark.parametrize("outcome", ["ok", "AccessDeniedException"])
def test_a_stranger_is_reported_whatever_they_got(tmp_path: Path, operation: str, outcome: str) -> None:
    done = reconcile_files(tmp_path, [record(operation, by=STRANGER, outcome=outcome)])
    (finding,) = done.findings
    assert finding.trouble is Trouble.STRANGER
    assert "assumed-role/Mallory" in finding.says
    assert ("was refused (AccessDenied)" in finding.says) == (outcome != "ok")


def test_a_stranger_does_not_become_the_service_by_a_row_about_their_call(tmp_path: Path) -> None:
    call = record("Decrypt", by=STRANGER)
    assert [finding.trouble for finding in reconcile_files(tmp_path, [call], [row(call)]).findings] == [
        Trouble.STRANGER
    ]


def test_without_roles_the_service_is_who_makes_the_calls_of_rows(tmp_path: Path) -> None:
    calls = [record("Decrypt"), record("Decrypt", by=STRANGER)]
    done = reconcile_files(tmp_path, calls, [row(calls[0])], principals=[])
    assert done.principals == {ROLE}
    assert [finding.trouble for finding in done.findings] == [Trouble.STRANGER]


def test_a_decrypt_needs_a_row_even_where_no_role_is_known(tmp_path: Path) -> None:
    calls = [record("Encrypt", EncryptionContext={"purpose": "row-mac"}), record("Decrypt", by=STRANGER)]
    done = reconcile_files(tmp_path, calls, principals=[])
    assert [finding.trouble for finding in done.findings] == [Trouble.UNEXPLAINED]


def test_roles_may_be_patterns(tmp_path: Path) -> None:
    call = record("Decrypt")
    done = reconcile_files(
        tmp_path, [call], [row(call)], principals=["arn:aws:iam::111122223333:role/kms-service-*"]
    )
    assert done.found == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"wallet_address": "0xD01b2afC3953898767965E7Ea3740dc87C65bAb9"},
        {"kms_key_id": OTHER},
        {"action": "wallet.create"},
    ],
)
def test_a_row_about_something_else_explains_nothing(tmp_path: Path, changes: dict[str, Any]) -> None:
    call = record("Decrypt")
    done = reconcile_files(tmp_path, [call], [row(call, **changes)])
    assert [finding.trouble for finding in done.findings] == [Trouble.DISAGREES]


def test_a_row_without_its_call_is_named_once_cloudtrail_should_have_it(tmp_path: Path) -> None:
    known, lacking = record("Decrypt"), record("Decrypt", at=5.0)
    late = replace(row(record("Decrypt")), at=AT + timedelta(hours=2))
    refused = row(record("Decrypt"), outcome="kms_throttled")  # CloudTrail need not have what KMS refused
    done = reconcile_files(tmp_path, [known], [row(known), row(lacking), late, refused])
    (finding,) = done.findings
    assert finding.trouble is Trouble.NOT_IN_CLOUDTRAIL
    assert finding.row is not None
    assert finding.row.request_id == lacking["requestID"]


def test_two_rows_of_one_request_are_named(tmp_path: Path) -> None:
    call = record("Decrypt")
    done = reconcile_files(tmp_path, [call], [row(call), row(call)])
    assert [finding.trouble for finding in done.findings] == [Trouble.TOLD_TWICE]
    assert done.explained[Explained.ROW] == 1


def test_the_opening_rows_of_one_process_share_a_request(tmp_path: Path) -> None:
    call = record("Encrypt", EncryptionContext={"purpose": "audit-chain"})
    rows = [row(call, "audit.open", wallet_address=None) for _ in range(3)]
    assert reconcile_files(tmp_path, [call], rows).found == 0


@pytest.mark.parametrize(
    ("operation", "params"),
    [
        ("Decrypt", {"EncryptionContext": {"purpose": "audit-chain"}}),
        ("Decrypt", {"EncryptionContext": {"purpose": "row-mac"}}),
        ("Encrypt", {"EncryptionContext": {"purpose": "row-mac"}}),
        ("Encrypt", {}),  # of a creation that lost a race
        ("ReEncrypt", MOVE | {"keys": (KEY, OTHER)}),
        ("ReEncrypt", MOVE | {"keys": (KEY,), "DestinationKeyId": KEY}),
    ],
)
def test_a_call_that_opens_no_wallet_is_explained_by_its_purpose(
    tmp_path: Path, operation: str, params: dict[str, Any]
) -> None:
    done = reconcile_files(tmp_path, [record(operation, **params)])
    assert dict(done.explained) == {Explained.PURPOSE: 1}


@pytest.mark.parametrize("outcome", ["DryRunOperationException", "ThrottlingException", "DisabledException"])
def test_a_call_that_kms_did_not_carry_out_is_explained(tmp_path: Path, outcome: str) -> None:
    done = reconcile_files(
        tmp_path, [record("Decrypt", outcome=outcome), record("CreateGrant", outcome=outcome)]
    )
    assert dict(done.explained) == {Explained.NOT_DONE: 2}


@pytest.mark.parametrize(
    ("params", "trouble"),
    [
        ({"keys": (KEY, FOREIGN)}, Trouble.MOVED_AWAY),
        ({"keys": (KEY,)}, Trouble.MOVED_AWAY),
        ({"keys": (KEY,), "DestinationKeyId": "alias/elsewhere"}, Trouble.MOVED_AWAY),
        ({"keys": (KEY, OTHER), "DestinationEncryptionContext": {}}, Trouble.MOVED_AWAY),
    ],
)
def test_a_dek_that_was_moved_away_is_named(tmp_path: Path, params: dict[str, Any], trouble: Trouble) -> None:
    done = reconcile_files(tmp_path, [record("ReEncrypt", **(MOVE | params))])
    assert [finding.trouble for finding in done.findings] == [trouble]


@pytest.mark.parametrize(
    ("operation", "params", "trouble"),
    [
        ("Decrypt", {"EncryptionContext": {}}, Trouble.UNEXPLAINED),
        ("Decrypt", {"EncryptionContext": {"purpose": "holiday"}}, Trouble.UNEXPLAINED),
        ("GenerateDataKey", {"EncryptionContext": context()}, Trouble.NEVER_DONE),
        ("CreateGrant", {}, Trouble.NEVER_DONE),
        ("PutKeyPolicy", {}, Trouble.NEVER_DONE),
    ],
)
def test_a_call_that_the_service_never_makes_is_reported_even_for_its_own_role(
    tmp_path: Path, operation: str, params: dict[str, Any], trouble: Trouble
) -> None:
    done = reconcile_files(tmp_path, [record(operation, **params)])
    assert [finding.trouble for finding in done.findings] == [trouble]


def test_an_administrator_may_change_policies_and_decrypt_nothing(tmp_path: Path) -> None:
    calls = [record("PutKeyPolicy", by=STRANGER), record("Decrypt", by=STRANGER)]
    done = reconcile_files(tmp_path, calls, administrators=[STRANGER.role])
    assert [finding.trouble for finding in done.findings] == [Trouble.STRANGER]


def test_other_keys_and_other_operations_are_not_ours(tmp_path: Path) -> None:
    calls = [
        record("Decrypt", by=STRANGER, keys=(FOREIGN,), EncryptionContext={"app": "another"}),
        record("DescribeKey", by=STRANGER),
        record("ListAliases", by=STRANGER, keys=()),
    ]
    done = reconcile_files(tmp_path, calls)
    assert (done.calls, done.found) == (0, 0)


def test_our_context_under_an_unknown_key_is_reported(tmp_path: Path) -> None:
    done = reconcile_files(tmp_path, [record("Decrypt", keys=(FOREIGN,))])
    assert [finding.trouble for finding in done.findings] == [Trouble.UNEXPLAINED]


def test_a_request_sent_again_is_explained_by_the_one_that_was_answered(tmp_path: Path) -> None:
    calls = [record("Decrypt", at=second) for second in (0.0, 0.0, 1.0)]
    done = reconcile_files(tmp_path, calls, [row(calls[2])])
    assert dict(done.explained) == {Explained.SENT_AGAIN: 2, Explained.ROW: 1}


def test_only_as_many_requests_as_the_service_sends_are_explained_so(tmp_path: Path) -> None:
    calls = [record("Decrypt", at=float(second)) for second in range(5)]
    done = reconcile_files(tmp_path, calls, [row(calls[4])])
    assert (done.explained[Explained.SENT_AGAIN], done.found) == (2, 2)


@pytest.mark.parametrize(
    "other",
    [
        {"by": THIEF},
        {"by": replace(SERVICE, source_ip=THIEF.source_ip)},
        {"at": 60.0},
        {"at": -60.0},
        {"EncryptionContext": context("0xD01b2afC3953898767965E7Ea3740dc87C65bAb9")},
        {"keys": (OTHER,)},
    ],
)
def test_nobody_hides_behind_a_release_of_somebody_else(tmp_path: Path, other: dict[str, Any]) -> None:
    release, another = record("Decrypt", at=1.0), record("Decrypt", **other)
    done = reconcile_files(tmp_path, [release, another], [row(release)])
    assert [finding.trouble for finding in done.findings] == [Trouble.UNEXPLAINED]


def test_a_request_whose_answer_was_lost_is_explained_by_its_refusal(tmp_path: Path) -> None:
    calls = [record("Decrypt"), record("Decrypt", at=1.0), record("Decrypt", at=100.0)]
    done = reconcile_files(tmp_path, calls, lost=[LostAnswer(7, AT + timedelta(seconds=3), ADDRESS, KEY)])
    assert (done.explained[Explained.SENT_AGAIN], done.found) == (2, 1)


def test_a_replica_of_a_multi_region_key_is_the_same_key(tmp_path: Path) -> None:
    home, replica = (
        f"arn:aws:kms:{region}:111122223333:key/mrk-1234abcd12ab34cd56ef1234567890ab"
        for region in ("eu-central-1", "eu-west-1")
    )
    calls = [record("Decrypt", keys=(home,)), record("Decrypt", keys=(replica,), at=1.0)]
    moved: dict[str, Any] = MOVE | {"keys": (KEY, replica)}
    calls.append(record("ReEncrypt", **moved))
    done = reconcile_files(tmp_path, calls, [row(calls[1], kms_key_id=home)], keys=[KEY, home])
    assert dict(done.explained) == {Explained.SENT_AGAIN: 1, Explained.ROW: 1, Explained.PURPOSE: 1}


MULTI, REPLICA = (
    f"arn:aws:kms:{region}:111122223333:key/mrk-1234abcd12ab34cd56ef1234567890ab"
    for region in ("eu-central-1", "eu-west-1")
)
# The same role and address with credentials of its own in the other Region.
ELSEWHERE = replace(SERVICE, access_key="ASIAELSEWHERE", session="i-0123-b")


def _here(**params: Any) -> dict[str, Any]:
    return record("Decrypt", keys=(MULTI,), **params)


def _there(**params: Any) -> dict[str, Any]:
    return record("Decrypt", keys=(REPLICA,), region="eu-west-1", **params)


def test_three_lost_attempts_in_one_region_are_explained_by_the_answer_of_the_other(tmp_path: Path) -> None:
    calls = [_here(), _here(), _here(at=1.0), _there(at=1.0, by=ELSEWHERE), _there(at=2.0, by=ELSEWHERE)]
    told = [row(calls[-1], kms_key_id=REPLICA)]
    done = reconcile_files(tmp_path, calls, told, keys=[MULTI])
    assert dict(done.explained) == {Explained.SENT_AGAIN: 4, Explained.ROW: 1}
    more = reconcile_files(tmp_path, [*calls, _here(at=1.0)], told, keys=[MULTI])
    assert [finding.trouble for finding in more.findings] == [Trouble.UNEXPLAINED]


def test_a_hedged_request_is_explained_by_the_answer_that_was_quicker(tmp_path: Path) -> None:
    calls = [_here(), _there(at=2.0)]
    done = reconcile_files(tmp_path, calls, [row(calls[0], kms_key_id=MULTI)], keys=[MULTI])
    assert dict(done.explained) == {Explained.SENT_AGAIN: 1, Explained.ROW: 1}


@pytest.mark.parametrize(
    "other",
    [
        {"at": 7.0},
        {"at": 1.0, "by": THIEF},
        {"at": 1.0, "by": replace(SERVICE, session="m", access_key="A", source_ip="198.51.100.7")},
        {"at": 1.0, "EncryptionContext": context("0x0000000000000000000000000000000000000001")},
    ],
)
def test_nobody_hides_in_the_other_region(tmp_path: Path, other: dict[str, Any]) -> None:
    release = _here()
    if other.get("by") is THIEF:
        other = other | {"by": replace(THIEF, session="stolen")}
    done = reconcile_files(
        tmp_path, [release, _there(**other)], [row(release, kms_key_id=MULTI)], keys=[MULTI]
    )
    assert [finding.trouble for finding in done.findings] == [Trouble.UNEXPLAINED]


def test_calls_outside_the_window_are_left_alone(tmp_path: Path) -> None:
    assert reconcile_files(tmp_path, [record("Decrypt", at=-7200.0), record("Decrypt", at=7200.0)]).calls == 0


def test_requests_of_a_run_are_explained_by_the_rows_that_list_them(tmp_path: Path) -> None:
    calls = [record("Decrypt", at=float(number)) for number in range(100)]
    details = list(listings("wallets.verify", [each["requestID"] for each in calls]))
    assert len(details) == 3
    assert all(len(detail) <= 1024 for detail in details)
    listed = [request for detail in details for request in listed_requests(LISTED, detail)]
    rows = [
        replace(row(calls[0], LISTED, listed=True), request_id=each, wallet_address=None) for each in listed
    ]
    assert dict(reconcile_files(tmp_path, calls, rows).explained) == {Explained.LISTED: 100}


@pytest.mark.parametrize("request_id", ["", "x", "A" * 22, "A" * 60, "12345126-30D5-4B28-98B9-9153DA559963"])
def test_ids_of_another_form_are_listed_as_they_are(request_id: str) -> None:
    (detail,) = listings("run", [request_id, "12345126-30d5-4b28-98b9-9153da559963"])
    wanted = [each for each in (request_id, "12345126-30d5-4b28-98b9-9153da559963") if each]
    assert list(listed_requests(LISTED, detail)) == wanted


def test_other_rows_list_nothing() -> None:
    assert not list(listed_requests("sign.message", "run 12345126"))
    assert not list(listed_requests(LISTED, None))
    assert not list(listings("run", []))


def test_many_findings_are_counted_and_some_kept(tmp_path: Path) -> None:
    calls = [record("Decrypt", at=number / 10) for number in range(1200)]
    done = reconcile_files(tmp_path, calls)
    assert (done.found, len(done.findings)) == (1200, 1000)
