"""A row's MAC covers every field, its place, and all rows before it."""

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kms_service.crypto import audit_chain
from kms_service.crypto.audit_chain import START, BrokenLink
from kms_service.crypto.material import DataKey

KEY = DataKey(bytes(range(32)))
rows = st.lists(st.none() | st.text(max_size=8), max_size=5)


@given(one=rows, other=rows)
def test_no_two_rows_have_the_same_encoding(one: list[str | None], other: list[str | None]) -> None:
    encoded = [b"".join(audit_chain._encode(field) for field in row) for row in (one, other)]
    assert (encoded[0] == encoded[1]) == (one == other)


@given(row=rows, data=st.data())
def test_a_field_moved_to_its_neighbour_is_another_row(row: list[str | None], data: st.DataObject) -> None:
    text = "".join(field or "" for field in row)
    cut = data.draw(st.integers(0, len(text)))
    moved = [text[:cut], text[cut:]]
    assert (audit_chain.link(KEY, START, row) == audit_chain.link(KEY, START, moved)) == (row == moved)


def test_a_link_is_computed_as_the_docstring_says() -> None:
    covered = (
        b"kms-service/audit\x01" + START + b"\x01\x00\x00\x00\x05alice" + b"\x00" + b"\x01\x00\x00\x00\x00"
    )
    expected = hmac.new(KEY.reveal(), covered, hashlib.sha256).digest()
    assert audit_chain.link(KEY, START, ["alice", None, ""]) == expected
    audit_chain.verify(KEY, START, ["alice", None, ""], expected)


@pytest.mark.parametrize(
    ("key", "previous", "row"),
    [
        (DataKey(bytes(32)), START, ["a", "b"]),
        (KEY, b"\x01" * 32, ["a", "b"]),
        (KEY, START, ["b", "a"]),
        (KEY, START, ["a"]),
        (KEY, START, ["a", "b", None]),
    ],
    ids=["key", "row before", "order", "row cut", "row longer"],
)
def test_any_change_breaks_the_chain(key: DataKey, previous: bytes, row: list[str | None]) -> None:
    mac = audit_chain.link(KEY, START, ["a", "b"])
    with pytest.raises(BrokenLink):
        audit_chain.verify(key, previous, row, mac)
