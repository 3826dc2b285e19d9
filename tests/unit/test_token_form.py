"""A token shows by itself whether the service made it; callers who send another form wait for a turn."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from event_loop import complete
from kms_service.access import tokens
from kms_service.access.tokens import CHECK_BYTES
from kms_service.crypto.material import DataKey
from kms_service.crypto.row_mac import RowLabel, RowMacKeyring, key_id
from kms_service.service.access import pace
from kms_service.service.access.pace import Turns
from kms_service.service.access.token_form import make_token, was_made

OLD, NEW, OTHER = (DataKey(bytes(range(start, start + 32))) for start in (0, 32, 64))


def _ring(*keys: DataKey) -> RowMacKeyring:
    return RowMacKeyring(key_id(keys[0]), {key_id(key): key for key in keys})


RING = _ring(NEW, OLD)


def _was_made(token: str, ring: RowMacKeyring = RING) -> bool:
    form = tokens.split(token)
    return form is not None and was_made(form, ring)


def test_no_two_tokens_are_the_same_and_each_is_recognised() -> None:
    made = {make_token(RING) for _ in range(1000)}
    assert len(made) == 1000
    assert all(_was_made(token) for token in made)


def test_tokens_made_under_an_older_key_stay_good() -> None:
    assert _was_made(make_token(_ring(OLD)))
    assert not _was_made(make_token(_ring(OTHER)))


@given(place=st.integers(0, 47), bit=st.integers(0, 7))
def test_no_bit_of_a_token_can_be_changed(place: int, bit: int) -> None:
    parts = bytearray(base64.urlsafe_b64decode(make_token(RING)[4:]))
    parts[place] ^= 1 << bit
    assert not _was_made("kms_" + base64.urlsafe_b64encode(parts).decode())


@pytest.mark.parametrize("label", [label for label in RowLabel if label is not RowLabel.TOKEN_FORM])
def test_the_mac_of_a_row_is_never_the_check_of_a_token(label: RowLabel) -> None:
    """Whoever reads the database sees MACs of rows; none of them is a check of bytes of their choice."""
    random = bytes(32)
    assert not _was_made(tokens.join(random, RING.make(label, (random,)).mac[:CHECK_BYTES]))


class _Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_after_a_quiet_while_a_few_turns_come_at_once() -> None:
    clock = _Clock()
    turns = Turns(clock, per_second=100, at_once=50)
    assert [turns.take() for _ in range(2)] == pytest.approx([0.0, 0.01])
    clock.now += 60.0
    waits = [turns.take() for _ in range(151)]
    assert waits[:51] == pytest.approx([0.0] * 51, abs=1e-6)
    assert waits[150] == pytest.approx(1.0)


def test_a_turn_that_is_too_far_away_is_not_given_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "LONGEST_SECONDS", 0.1)
    clock = _Clock()
    turns = Turns(clock, per_second=100, at_once=0)
    waits = [turns.take() for _ in range(10_000)]
    assert max(waits) == pytest.approx(0.11)
    assert not complete(turns.wait())
    clock.now += 0.12
    assert turns.take() == pytest.approx(0.0, abs=1e-6)
    assert complete(turns.wait())
