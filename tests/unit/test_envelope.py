"""The encrypted seed: its layout, what it is bound to, and that nothing else opens."""

import traceback

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from kms_service.crypto import envelope
from kms_service.crypto.envelope import WalletSecret
from kms_service.crypto.material import DataKey, Mnemonic, PrivateKey
from kms_service.errors import IntegrityFailure

ADDRESS = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
PHRASE = "test test test test test test test test test test test junk"
DEK = DataKey(bytes(range(32)))
KEY = PrivateKey(bytes(range(1, 33)))

users = st.text("ABCabc019._:@-", min_size=1, max_size=128)


def _encrypt(user: str = "alice", address: str = ADDRESS) -> bytes:
    return envelope.encrypt(WalletSecret(KEY, Mnemonic(PHRASE)), DEK, user_id=user, wallet_address=address)


def _open(encrypted: bytes, user: str = "alice", address: str = ADDRESS, dek: DataKey = DEK) -> None:
    envelope.decrypt(encrypted, dek, user_id=user, wallet_address=address)


@given(one=st.tuples(users, users), other=st.tuples(users, users))
def test_no_two_identities_share_their_associated_data(one: tuple[str, str], other: tuple[str, str]) -> None:
    assert (envelope._aad(b"\x02", *one) == envelope._aad(b"\x02", *other)) == (one == other)


@given(user=users, other=users)
def test_a_seed_opens_for_its_own_user_only(user: str, other: str) -> None:
    if user == other:
        return
    with pytest.raises(IntegrityFailure):
        _open(_encrypt(user), other)


def test_a_seed_opens_at_its_own_address_and_with_its_own_dek_only() -> None:
    encrypted = _encrypt()
    for arguments in ({"address": ADDRESS.lower()}, {"dek": DataKey(bytes(32))}):
        with pytest.raises(IntegrityFailure):
            _open(encrypted, **arguments)


def test_any_cut_and_any_flipped_bit_is_refused() -> None:
    encrypted = _encrypt()
    damaged = [encrypted[:length] for length in range(len(encrypted))] + [encrypted + b"\x00"]
    for bit in range(len(encrypted) * 8):
        flipped = bytearray(encrypted)
        flipped[bit // 8] ^= 1 << bit % 8
        damaged.append(bytes(flipped))
    for each in damaged:
        with pytest.raises(IntegrityFailure):
            _open(each)


def test_every_encryption_has_a_nonce_of_its_own_and_every_dek_is_fresh() -> None:
    assert len({_encrypt()[1:13] for _ in range(500)}) == 500
    assert len({envelope.new_data_key().reveal() for _ in range(500)}) == 500


@pytest.mark.invariant(8)
@pytest.mark.parametrize("version", [b"\x01", b"\x02"])
def test_a_refusal_holds_nothing_of_what_was_opened(version: bytes) -> None:
    nonce = bytes(12)
    aad = envelope._aad(version, "alice", ADDRESS)
    no_text = version + nonce + AESGCM(DEK.reveal()).encrypt(nonce, b"canary" * 8 + b"\xff", aad)
    with pytest.raises(IntegrityFailure) as error:
        _open(no_text)
    assert error.value.__cause__ is None
    assert error.value.__suppress_context__
    assert "canary" not in "".join(traceback.format_exception(error.value))
