"""A row's MAC covers every field and its kind, and only a key of the ring makes one that passes."""

import hashlib
import hmac
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kms_service.crypto import row_mac
from kms_service.crypto.material import DataKey
from kms_service.crypto.row_mac import RowLabel, RowMac, RowMacKeyring, key_id, wallet_fields
from kms_service.errors import IntegrityFailure

OLD = DataKey(bytes(range(32)))
NEW = DataKey(bytes(range(32, 64)))
RING = RowMacKeyring(key_id(NEW), {key_id(key): key for key in (OLD, NEW)})
ROW = wallet_fields("alice", "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266", "0x02" + "ab" * 32)
fields = st.lists(st.text(max_size=8), max_size=5)


def test_a_mac_is_computed_as_the_docstring_says() -> None:
    covered = b"kms-service/wallet\x01" + b"\x00\x05alice" + b"\x00\x02\x00\xff" + b"\x00\x00"
    expected = hmac.new(NEW.reveal(), covered, hashlib.sha256).digest()
    assert RING.make(RowLabel.WALLET, ["alice", b"\x00\xff", ""]) == RowMac(key_id(NEW), expected)


@given(one=fields, other=fields)
def test_no_two_rows_have_the_same_mac(one: list[str], other: list[str]) -> None:
    made = [RING.make(RowLabel.TOKEN, row) for row in (one, other)]
    assert (made[0] == made[1]) == (one == other)


@given(row=fields, data=st.data())
def test_a_letter_moved_to_the_neighbour_is_another_row(row: list[str], data: st.DataObject) -> None:
    text = "".join(row)
    cut = data.draw(st.integers(0, len(text)))
    moved = [text[:cut], text[cut:]]
    assert (RING.make(RowLabel.SEAL, row) == RING.make(RowLabel.SEAL, moved)) == (row == moved)


def test_labels_differ_and_none_begins_another() -> None:
    values = [*(label.value for label in RowLabel), row_mac._KEY_LABEL]
    assert not [one for one in values for other in values if one is not other and one.startswith(other)]


def test_a_mac_made_by_any_key_of_the_ring_passes() -> None:
    RING.verify(RowLabel.WALLET, ROW, RING.make(RowLabel.WALLET, ROW))
    RING.verify(
        RowLabel.WALLET, ROW, RowMacKeyring(key_id(OLD), {key_id(OLD): OLD}).make(RowLabel.WALLET, ROW)
    )
    assert RING.making_key_id == key_id(NEW)
    assert RING.key_ids == {key_id(OLD), key_id(NEW)}


MADE = RING.make(RowLabel.WALLET, ROW)


@pytest.mark.parametrize(
    ("label", "row", "mac", "reason"),
    [
        (RowLabel.WALLET, ROW, None, "row without a MAC"),
        (RowLabel.WALLET, ROW, RowMac(uuid.UUID(int=3), MADE.mac), "row MAC of an unknown key"),
        (RowLabel.WALLET, ROW, RowMac(key_id(OLD), MADE.mac), "row MAC"),
        (RowLabel.TOKEN, ROW, MADE, "row MAC"),
        (RowLabel.WALLET, ("bob", *ROW[1:]), MADE, "row MAC"),
        (RowLabel.WALLET, (ROW[0], ROW[1].lower(), ROW[2]), MADE, "row MAC"),
        (RowLabel.WALLET, (*ROW[:2], "0x03" + ROW[2][4:]), MADE, "row MAC"),
        (RowLabel.WALLET, ROW[:2], MADE, "row MAC"),
        (RowLabel.WALLET, (*ROW, ""), MADE, "row MAC"),
        (RowLabel.WALLET, ROW[::-1], MADE, "row MAC"),
        (RowLabel.WALLET, ROW, RowMac(key_id(NEW), MADE.mac[:-1]), "row MAC"),
        (RowLabel.WALLET, ROW, RowMac(key_id(NEW), b""), "row MAC"),
        (RowLabel.WALLET, ROW, RowMac(key_id(NEW), MADE.mac + b"\x00"), "row MAC"),
        (RowLabel.WALLET, ("a" * 65536,), MADE, "row MAC"),
    ],
    ids=[
        "absent", "unknown key", "other key", "other kind", "user", "address case", "public key", "cut",
        "longer", "order", "mac cut", "mac empty", "mac longer", "field too long",
    ],
)  # fmt: skip
def test_any_other_mac_is_refused(
    label: RowLabel, row: tuple[str, ...], mac: RowMac | None, reason: str
) -> None:
    with pytest.raises(IntegrityFailure) as refusal:
        RING.verify(label, row, mac)
    assert refusal.value.reason == reason


def test_a_field_longer_than_its_length_prefix_can_say_is_refused() -> None:
    assert row_mac.LONGEST_FIELD == 65535
    RING.make(RowLabel.POLICY, ["a" * 65535])
    with pytest.raises(ValueError, match="65535"):
        RING.make(RowLabel.POLICY, ["a" * 65536])


def test_the_id_of_a_key_is_computed_as_the_docstring_says() -> None:
    expected = hmac.digest(OLD.reveal(), b"kms-service/row-mac-key\x01", hashlib.sha256)
    assert key_id(OLD) == uuid.UUID(bytes=expected[:16])
    assert key_id(OLD) != key_id(NEW)
