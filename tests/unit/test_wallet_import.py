"""The encrypted import opens what a second reading of RFC 9180 encrypts, for its own user only."""

import traceback

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

import hpke
from kms_service.crypto import wallet_import
from kms_service.crypto.material import DataKey, Mnemonic, PrivateKey
from kms_service.crypto.wallet_import import UnopenedImport, open_import

INFO = b"kms-service/wallet-import/v1"
PHRASE = "test test test test test test test test test test test junk"
RECIPIENT = wallet_import.new_recipient()
PUBLIC = wallet_import.public_key_of(RECIPIENT)


def _open(
    plaintext: bytes, *, user: str = "alice", info: bytes = INFO, aad: bytes = b"alice"
) -> PrivateKey | Mnemonic:
    encapsulated, ciphertext = hpke.seal(PUBLIC, plaintext, info, aad)
    return open_import(RECIPIENT, encapsulated_key=encapsulated, ciphertext=ciphertext, user_id=user)


def test_the_second_reading_opens_what_it_encrypts() -> None:
    recipient = X25519PrivateKey.generate()
    encapsulated, ciphertext = hpke.seal(recipient.public_key().public_bytes_raw(), b"text", b"i", b"a")
    assert hpke.open_(recipient, encapsulated, ciphertext, b"i", b"a") == b"text"


def test_the_public_half_is_that_of_x25519() -> None:
    private = DataKey(bytes.fromhex(hpke.RFC["skRm"]))
    expected = X25519PrivateKey.from_private_bytes(private.reveal()).public_key().public_bytes_raw()
    assert wallet_import.public_key_of(private) == expected


@pytest.mark.parametrize("key", [bytes(range(32)), b"\xff" * 32, b"0123456789abcdef" * 2])
def test_32_bytes_are_a_private_key_whatever_they_spell(key: bytes) -> None:
    opened = _open(key)
    assert isinstance(opened, PrivateKey)
    assert opened.reveal() == key


@pytest.mark.parametrize("phrase", [PHRASE, "a" * 33, "abstract " * 23 + "abstract"])
def test_a_text_as_long_as_a_phrase_is_read_as_one(phrase: str) -> None:
    opened = _open(phrase.encode())
    assert isinstance(opened, Mnemonic)
    assert opened.reveal() == phrase


@pytest.mark.parametrize("length", [0, 1, 16, 31, 216, 4096])
def test_anything_that_is_neither_key_nor_phrase_is_refused(length: int) -> None:
    with pytest.raises(UnopenedImport, match="neither"):
        _open(b"a" * length)


@pytest.mark.parametrize(
    "changed",
    [{"user": "bob"}, {"user": "Alice"}, {"user": ""}, {"aad": b""}, {"info": b""},
     {"info": INFO[:-1] + b"2"}, {"info": b"kms-service/private-key-export/v1"}],
)  # fmt: skip
def test_an_import_opens_for_its_own_user_and_purpose_only(changed: dict[str, str | bytes]) -> None:
    with pytest.raises(UnopenedImport, match="not encrypted to"):
        _open(PHRASE.encode(), **changed)  # type: ignore[arg-type] # one of the keywords above


def test_an_import_opens_with_its_own_key_only() -> None:
    encapsulated, ciphertext = hpke.seal(PUBLIC, PHRASE.encode(), INFO, b"alice")
    with pytest.raises(UnopenedImport):
        open_import(
            wallet_import.new_recipient(),
            encapsulated_key=encapsulated,
            ciphertext=ciphertext,
            user_id="alice",
        )


def _flip(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def test_any_flipped_bit_and_any_cut_is_refused() -> None:
    encapsulated, ciphertext = hpke.seal(PUBLIC, bytes(32), INFO, b"alice")
    changed = [(encapsulated, ciphertext[:length]) for length in range(len(ciphertext))]
    changed += [(encapsulated, _flip(ciphertext, bit)) for bit in range(8 * len(ciphertext))]
    # X25519 ignores the highest bit of a coordinate; HPKE hashes it, so it is refused like the others.
    changed += [(_flip(encapsulated, bit), ciphertext) for bit in range(8 * len(encapsulated))]
    changed += [(encapsulated[:-1], ciphertext), (encapsulated + b"\x00", ciphertext), (b"", ciphertext)]
    for key, text in changed:
        with pytest.raises(UnopenedImport):
            open_import(RECIPIENT, encapsulated_key=key, ciphertext=text, user_id="alice")


@pytest.mark.parametrize("point", hpke.LOW_ORDER, ids=lambda point: point.hex()[:8])
def test_an_encapsulated_key_of_low_order_is_refused(point: bytes) -> None:
    _, ciphertext = hpke.seal(PUBLIC, bytes(32), INFO, b"alice")
    with pytest.raises(UnopenedImport):
        open_import(RECIPIENT, encapsulated_key=point, ciphertext=ciphertext, user_id="alice")


@pytest.mark.invariant(8)
@pytest.mark.parametrize("plaintext", [b"canary" * 10 + b"\xff", b"canary", b"canary" * 100])
def test_a_refusal_shows_nothing_of_what_was_encrypted(plaintext: bytes) -> None:
    with pytest.raises(UnopenedImport) as refusal:
        _open(plaintext)
    assert "canary" not in "".join(traceback.format_exception(refusal.value))
    assert refusal.value.__cause__ is None


def test_no_two_recipients_are_alike() -> None:
    assert len({wallet_import.new_recipient().reveal() for _ in range(50)}) == 50
