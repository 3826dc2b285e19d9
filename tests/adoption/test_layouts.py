"""Rows of other services open in every layout, given or guessed; a row without a tag never opens."""

import traceback

import pytest

from adoption import foreign
from adoption.foreign import DEK, ORIGINALS, PHRASE, b64
from kms_service import ethereum
from kms_service.crypto.material import DataKey
from kms_service.service.adoption.encrypted_phrase import Layout, Unreadable, open_phrase, readings_of
from kms_service.service.adoption.wrapped_dek import UnderEnvironmentKey, UnderKms, read_wrapped

KEY_ID = "66064353-3554-46cc-9c1d-5f7f8c2df446"
ARN = f"arn:aws:kms:eu-central-1:123456789012:key/{KEY_ID}"
MULTI_REGION = "mrk-" + "0123456789abcdef" * 2
MASTER = bytes(range(64, 96))

originals = pytest.mark.parametrize("row", ORIGINALS, ids=[row["userId"][:8] for row in ORIGINALS])
ENCRYPTED = foreign.layouts(PHRASE.encode())
layouts = pytest.mark.parametrize(("layout", "text"), ENCRYPTED.values(), ids=ENCRYPTED.keys())
REFUSED = foreign.refused_texts()


@originals
@pytest.mark.parametrize("layout", [Layout.AUTO, Layout.HEX_PARTS])
def test_a_row_of_the_ported_service_gives_the_key_that_it_gave_there(
    row: dict[str, str], layout: Layout
) -> None:
    wrapped = read_wrapped(row["encryptedDek"], row["kmsKeyId"])
    assert isinstance(wrapped, UnderKms)
    assert wrapped.key == row["kmsKeyId"]
    phrase = open_phrase(row["encryptedSeed"], DataKey(bytes.fromhex(row["dek"])), layout)
    account = ethereum.derive_imported(phrase)
    assert "0x" + account.private_key.reveal().hex() == row["privateKey"]
    assert account.address == row["walletAddress"]
    assert account.compressed_public_key == row["compressedPublicKey"]


def test_there_are_six_rows_of_the_ported_service() -> None:
    assert len({row["walletAddress"] for row in ORIGINALS}) == 6


@layouts
def test_every_layout_opens_when_given_and_when_guessed(layout: str, text: str) -> None:
    for told in (Layout(layout), Layout.AUTO):
        assert open_phrase(text, DataKey(DEK), told).reveal() == PHRASE


@layouts
def test_none_opens_under_another_key_or_with_a_letter_changed(layout: str, text: str) -> None:
    with pytest.raises(Unreadable, match="tag"):
        open_phrase(text, DataKey(bytes(32)), Layout(layout))
    for place in range(len(text)):
        for letter in "0A:":
            changed = text[:place] + letter + text[place + 1 :]
            assert _open(changed) in (None, PHRASE)
            if _open(changed) == PHRASE:
                # Only what decodes to the same bytes: a hex digit's case, or a bit that base64 ignores.
                assert _bytes(changed) == _bytes(text)


def _open(text: str) -> str | None:
    try:
        return open_phrase(text, DataKey(DEK), Layout.AUTO).reveal()
    except Unreadable:
        return None


def _bytes(text: str) -> set[tuple[bytes, bytes, bytes]]:
    opened = [parts for parts in readings_of(text, Layout.AUTO) if parts.open(DataKey(DEK)) is not None]
    return {(parts.iv, parts.tag, parts.ciphertext) for parts in opened}


@layouts
def test_a_layout_that_is_given_is_the_only_one_tried(layout: str, text: str) -> None:
    for told in set(Layout) - {Layout.AUTO, Layout(layout)}:
        with pytest.raises(Unreadable):
            open_phrase(text, DataKey(DEK), told)


@pytest.mark.parametrize(("word", "text"), REFUSED.values(), ids=REFUSED.keys())
def test_anything_but_aes_gcm_is_refused_by_name(word: str, text: str) -> None:
    with pytest.raises(Unreadable, match=word) as refusal:
        open_phrase(text, DataKey(DEK), Layout.AUTO)
    assert "test" not in refusal.value.reason


@pytest.mark.invariant(8)
def test_a_refusal_holds_nothing_of_what_was_opened() -> None:
    text = foreign.layouts(b"canary" * 8 + b"\xff")["hex"][1]
    with pytest.raises(Unreadable, match="not text") as refusal:
        open_phrase(text, DataKey(DEK), Layout.AUTO)
    assert "canary" not in "".join(traceback.format_exception(refusal.value))


@pytest.mark.parametrize("key", [KEY_ID, ARN, MULTI_REGION])
@pytest.mark.parametrize("column", [None, KEY_ID, "another"])
def test_the_key_named_in_the_text_is_used(key: str, column: str | None) -> None:
    text = f'{{"encryptedData": "{b64(b"blob")}", "kmsKeyId": "{key}", "encryptionVersion": "v2"}}'
    assert read_wrapped(text, column) == UnderKms(key, b"blob")


@pytest.mark.parametrize("text", [b64(b"blob"), f'{{"encryptedData": "{b64(b"blob")}"}}'])
def test_the_key_of_the_column_is_used_where_the_text_names_none(text: str) -> None:
    assert read_wrapped(text, ARN) == UnderKms(ARN, b"blob")
    with pytest.raises(Unreadable, match="names no KMS key"):
        read_wrapped(text, None)


@pytest.mark.parametrize(
    "key", ["alias/wallets", "", "arn:aws:s3:::bucket", KEY_ID + "\n", KEY_ID.upper(), "../" + KEY_ID]
)
def test_a_malformed_key_name_is_refused(key: str) -> None:
    with pytest.raises(Unreadable):
        read_wrapped(b64(b"blob"), key)


@pytest.mark.parametrize(
    "text",
    ["", "{", "{}", "[]", '{"encryptedData": 5, "kmsKeyId": "x"}', '{"encryptedData": "!"}', "no base64",
     b64(bytes(6145)), '{"encryptedData": "AAAA", "kmsKeyId": 5}', '"text"'],
)  # fmt: skip
def test_any_other_wrapping_is_refused(text: str) -> None:
    with pytest.raises(Unreadable):
        read_wrapped(text, KEY_ID)


@pytest.mark.parametrize("form", [DEK, DEK.hex().encode()], ids=["bytes", "hex digits"])
def test_a_row_under_the_environment_key_opens_with_that_key_alone(form: bytes) -> None:
    wrapped = read_wrapped(foreign.layouts(form, MASTER)["hex"][1], None)
    assert isinstance(wrapped, UnderEnvironmentKey)
    assert wrapped.open(DataKey(MASTER)).reveal() == DEK
    with pytest.raises(Unreadable, match="MASTER_KEK"):
        wrapped.open(DataKey(bytes(32)))


@pytest.mark.parametrize("form", [b"", DEK[:-1], DEK + b"\x00", b"zz" * 32])
def test_anything_but_a_data_key_is_refused(form: bytes) -> None:
    text = foreign.layouts(form or b"\x00", MASTER)["hex"][1]
    wrapped = read_wrapped(text, None)
    assert isinstance(wrapped, UnderEnvironmentKey)
    with pytest.raises(Unreadable, match="not a data key"):
        wrapped.open(DataKey(MASTER))
