"""Replies are not trusted, and error codes are found as botocore finds them."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.parsers import JSONParser
from hypothesis import given
from hypothesis import strategies as st

from kms_service.kms.data_plane import replies
from kms_service.kms.data_plane.connection import Answer
from kms_service.kms.data_plane.replies import Garbled, Reply

_NOT_TEXT: list[object] = [None, 1, True, [], {}, 1.5]


def _answer(status: int, body: bytes, **headers: str) -> Answer:
    return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


def _reply(**members: object) -> Reply:
    return replies.read(_answer(200, json.dumps(members).encode(), x_amzn_requestid="id"))


@given(
    st.sampled_from([400, 403, 413, 429]),
    st.text(st.sampled_from("abzAZ#:./"), max_size=30) | st.sampled_from(["DisabledException"]),
)
def test_an_error_code_is_read_as_botocore_reads_it(status: int, kind: str) -> None:
    body = json.dumps({"__type": kind, "message": "canary"}).encode()
    parser: Any = JSONParser()
    theirs = parser.parse({"status_code": status, "headers": {}, "body": body}, None)
    assert replies.error_code(_answer(status, body)) == theirs["Error"]["Code"]


@pytest.mark.parametrize("status", [302, 400, 429, 500, 503])
@pytest.mark.parametrize(
    "body", [b"", b"{}", b"not json", b"<html>Bad Gateway</html>", b'{"__type": 7}', b"[1]", b"\xff\xfe"]
)
def test_an_error_that_is_not_from_kms_is_named_by_its_status(status: int, body: bytes) -> None:
    answer = _answer(status, body)
    assert replies.is_error(answer)
    assert replies.error_code(answer) == str(status)


@pytest.mark.parametrize(
    "body", [b"nul", b"[]", b'"text"', b"7", b'{"KeyId":', b"\xff", b"[" * 100_000, b'{"a":1}x']
)
def test_anything_but_an_object_is_garbled_and_not_quoted(body: bytes) -> None:
    with pytest.raises(Garbled) as caught:
        replies.read(_answer(200, body))
    assert str(caught.value) == ""


def test_an_empty_body_is_an_answer_without_members() -> None:
    assert replies.read(_answer(200, b"")).members == {}


def test_members_are_read_with_their_types() -> None:
    reply = _reply(
        KeyId="arn", Blob="a2V5", Nested={"Flag": True}, List=[{"N": 7}], At=1_700_000_000.5, Number=90
    )
    assert reply.request_id == "id"
    assert reply.text("KeyId") == "arn"
    assert reply.text_or_none("Absent") is None
    assert reply.blob("Blob") == b"key"
    assert reply.within("Nested").flag("Flag") is True
    assert [each.number("N") for each in reply.each("List")] == [7]
    assert reply.number("Absent") is None
    assert reply.time("At") == datetime.fromtimestamp(1_700_000_000.5, UTC)
    assert reply.time("Absent") is None


@pytest.mark.parametrize("value", _NOT_TEXT)
def test_text_and_bytes_are_text(value: object) -> None:
    for read in (Reply.text, Reply.blob):
        with pytest.raises(Garbled):
            read(_reply(A=value), "A")


@pytest.mark.parametrize(
    "value", ["a2V", "a2V5=", "a2V5\n", " a2V5", "a2-_", "a2V5a2V5=", "é", "=", "====", "a2W="]
)
def test_base64_is_strict(value: str) -> None:
    with pytest.raises(Garbled):
        _reply(A=value).blob("A")


@pytest.mark.parametrize(
    ("read", "values"),
    [
        (Reply.flag, [None, 0, 1, "true", {}]),
        (Reply.number, [True, "7", 1.5, {}]),
        (Reply.time, [True, "2026-01-01", {}, 1e300]),
        (Reply.within, [None, "x", [], 7]),
        (Reply.each, [None, {}, "x", [7]]),
    ],
)
def test_members_of_another_type_are_refused(read: Any, values: list[object]) -> None:
    for value in values:
        with pytest.raises(Garbled):
            read(_reply(A=value), "A")


@pytest.mark.parametrize(("value", "seconds"), [("1500", 1.5), ("0", 0.0), ("-1", None), ("x", None)])
def test_a_retry_after_header_is_read_as_seconds(value: str, seconds: float | None) -> None:
    assert replies.seconds_to_wait(_answer(400, b"", x_amz_retry_after=value)) == seconds
    assert replies.seconds_to_wait(_answer(400, b"")) is None


@pytest.mark.parametrize("shown", [repr, str])
def test_a_reply_that_may_hold_a_dek_is_not_shown(shown: Any) -> None:
    assert "canary" not in shown(_reply(Plaintext="canary"))
    assert "canary" not in shown(_answer(200, b"canary"))
