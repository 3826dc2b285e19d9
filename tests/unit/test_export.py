"""The encrypted export, compared with RFC 9180's vectors and a second reading; unusable keys are refused."""

import base64
import re
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

import hpke
from kms_service.crypto import export
from kms_service.crypto.export import EncryptedKey, ExportEncryption, UnusableRecipientKey
from kms_service.crypto.material import PrivateKey

ADDRESS = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
KEY = PrivateKey(bytes(range(32)))
INFO = b"kms-service/private-key-export/v1"
PAGE = Path(__file__).parents[2] / "docs/api.md"

RFC, LOW_ORDER = hpke.RFC, hpke.LOW_ORDER


def _encrypt(recipient: X25519PrivateKey) -> EncryptedKey:
    return ExportEncryption(recipient.public_key().public_bytes_raw()).encrypt(KEY, ADDRESS)


def test_the_suite_opens_the_vector_of_rfc9180() -> None:
    vector = {name: bytes.fromhex(value) for name, value in RFC.items()}
    suite = export._suite()
    recipient = suite.kem.deserialize_private_key(vector["skRm"])
    context = suite.create_recipient_context(vector["enc"], recipient, vector["info"])
    assert context.open(vector["ct"], vector["aad"]) == vector["pt"]


def test_our_second_reading_of_the_rfc_opens_the_vector_too() -> None:
    vector = {name: bytes.fromhex(value) for name, value in RFC.items()}
    recipient = X25519PrivateKey.from_private_bytes(vector["skRm"])
    assert hpke.open_(recipient, vector["enc"], vector["ct"], vector["info"], vector["aad"]) == vector["pt"]


def test_only_the_recipient_opens_an_export() -> None:
    recipient = X25519PrivateKey.generate()
    encrypted = _encrypt(recipient)
    assert (
        hpke.open_(recipient, encrypted.encapsulated_key, encrypted.ciphertext, INFO, ADDRESS.encode())
        == KEY.reveal()
    )
    with pytest.raises(InvalidTag):
        hpke.open_(
            X25519PrivateKey.generate(),
            encrypted.encapsulated_key,
            encrypted.ciphertext,
            INFO,
            ADDRESS.encode(),
        )


def test_an_export_opens_for_its_own_wallet_and_purpose_only() -> None:
    recipient = X25519PrivateKey.generate()
    encrypted = _encrypt(recipient)
    for info, aad in ((INFO, ADDRESS.lower().encode()), (INFO, b""), (b"", ADDRESS.encode())):
        with pytest.raises(InvalidTag):
            hpke.open_(recipient, encrypted.encapsulated_key, encrypted.ciphertext, info, aad)


def test_no_two_exports_are_alike() -> None:
    recipient = X25519PrivateKey.generate()
    assert _encrypt(recipient).encapsulated_key != _encrypt(recipient).encapsulated_key


@pytest.mark.parametrize("public_key", LOW_ORDER, ids=lambda key: key.hex()[:8])
def test_refuses_keys_of_low_order(public_key: bytes) -> None:
    for high_bit in (0, 0x80):  # which X25519 ignores
        with pytest.raises(UnusableRecipientKey):
            ExportEncryption(public_key[:31] + bytes([public_key[31] | high_bit]))


def test_refuses_a_key_that_is_not_in_canonical_form() -> None:
    unreduced = (9 + 2**255 - 19).to_bytes(32, "little")  # the base point, which X25519 itself would take
    with pytest.raises(UnusableRecipientKey):
        ExportEncryption(unreduced)


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_refuses_keys_of_another_length(length: int) -> None:
    with pytest.raises(UnusableRecipientKey):
        ExportEncryption(b"\x09" * length)


def test_the_documented_lines_open_an_export() -> None:
    block = re.search(
        r"```python\n(from base64 import b64decode\nfrom pyhpke.*?)```", PAGE.read_text(), re.DOTALL
    )
    assert block is not None
    recipient = X25519PrivateKey.generate()
    encrypted = _encrypt(recipient)
    answer = {
        "walletAddress": ADDRESS,
        "encapsulatedKey": base64.b64encode(encrypted.encapsulated_key).decode(),
        "ciphertext": base64.b64encode(encrypted.ciphertext).decode(),
    }
    names: dict[str, Any] = {"recipient": recipient, "answer": answer}
    exec(block[1], names)  # noqa: S102 # our own page
    assert names["private_key"] == KEY.reveal()
