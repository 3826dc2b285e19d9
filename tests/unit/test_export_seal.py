"""The sealed export against RFC 9180's vectors, a second reading of the RFC, and keys nobody can hold."""

import base64
import hmac
import re
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from kms_service.crypto import export as export_seal
from kms_service.crypto.export import ExportSeal, SealedKey, UnusableRecipientKey
from kms_service.crypto.material import PrivateKey

ADDRESS = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
KEY = PrivateKey(bytes(range(32)))
INFO = b"kms-service/private-key-export/v1"
PAGE = Path(__file__).parents[2] / "docs/api.md"

# RFC 9180, A.2.1: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20Poly1305, base mode, sequence number 0.
RFC = {
    "info": "4f6465206f6e2061204772656369616e2055726e",
    "skRm": "8057991eef8f1f1af18f4a9491d16a1ce333f695d4db8e38da75975c4478e0fb",
    "enc": "1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a",
    "pt": "4265617574792069732074727574682c20747275746820626561757479",
    "aad": "436f756e742d30",
    "ct": "1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db21993c62ce81883d2dd1b51a28",
}

# https://cr.yp.to/ecdh.html#validate: every point of low order, of the curve and of its twist.
LOW_ORDER = [
    bytes(32),
    (1).to_bytes(32, "little"),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    (2**255 - 20).to_bytes(32, "little"),
    (2**255 - 19).to_bytes(32, "little"),
    (2**255 - 18).to_bytes(32, "little"),
]


def _open(recipient: X25519PrivateKey, enc: bytes, ciphertext: bytes, info: bytes, aad: bytes) -> bytes:
    """RFC 9180's single-shot open in base mode, written from the RFC (4.1, 5.1, 5.2) for this one suite."""

    def extract(suite: bytes, salt: bytes, label: bytes, ikm: bytes) -> bytes:
        return hmac.digest(salt or bytes(32), b"HPKE-v1" + suite + label + ikm, "sha256")

    def expand(suite: bytes, prk: bytes, label: bytes, info: bytes, length: int) -> bytes:
        # One block of HKDF is enough: nothing here is longer than 32 bytes.
        block = length.to_bytes(2) + b"HPKE-v1" + suite + label + info + b"\x01"
        return hmac.digest(prk, block, "sha256")[:length]

    kem = b"KEM" + (0x0020).to_bytes(2)
    shared = recipient.exchange(X25519PublicKey.from_public_bytes(enc))
    context = enc + recipient.public_key().public_bytes_raw()
    secret = expand(kem, extract(kem, b"", b"eae_prk", shared), b"shared_secret", context, 32)
    hpke = b"HPKE" + b"".join(number.to_bytes(2) for number in (0x0020, 0x0001, 0x0003))
    schedule = b"\x00" + extract(hpke, b"", b"psk_id_hash", b"") + extract(hpke, b"", b"info_hash", info)
    prk = extract(hpke, secret, b"secret", b"")
    key, nonce = expand(hpke, prk, b"key", schedule, 32), expand(hpke, prk, b"base_nonce", schedule, 12)
    return ChaCha20Poly1305(key).decrypt(nonce, ciphertext, aad)


def _sealed(recipient: X25519PrivateKey) -> SealedKey:
    return ExportSeal(recipient.public_key().public_bytes_raw()).seal(KEY, ADDRESS)


def test_the_suite_opens_the_vector_of_rfc9180() -> None:
    vector = {name: bytes.fromhex(value) for name, value in RFC.items()}
    suite = export_seal._suite()
    recipient = suite.kem.deserialize_private_key(vector["skRm"])
    context = suite.create_recipient_context(vector["enc"], recipient, vector["info"])
    assert context.open(vector["ct"], vector["aad"]) == vector["pt"]


def test_so_does_the_second_reading() -> None:
    vector = {name: bytes.fromhex(value) for name, value in RFC.items()}
    recipient = X25519PrivateKey.from_private_bytes(vector["skRm"])
    assert _open(recipient, vector["enc"], vector["ct"], vector["info"], vector["aad"]) == vector["pt"]


def test_the_recipient_and_nobody_else_opens_it() -> None:
    recipient = X25519PrivateKey.generate()
    sealed = _sealed(recipient)
    assert (
        _open(recipient, sealed.encapsulated_key, sealed.ciphertext, INFO, ADDRESS.encode()) == KEY.reveal()
    )
    with pytest.raises(InvalidTag):
        _open(X25519PrivateKey.generate(), sealed.encapsulated_key, sealed.ciphertext, INFO, ADDRESS.encode())


def test_it_opens_for_its_own_wallet_and_purpose_only() -> None:
    recipient = X25519PrivateKey.generate()
    sealed = _sealed(recipient)
    for info, aad in ((INFO, ADDRESS.lower().encode()), (INFO, b""), (b"", ADDRESS.encode())):
        with pytest.raises(InvalidTag):
            _open(recipient, sealed.encapsulated_key, sealed.ciphertext, info, aad)


def test_no_two_seals_are_alike() -> None:
    recipient = X25519PrivateKey.generate()
    assert _sealed(recipient).encapsulated_key != _sealed(recipient).encapsulated_key


@pytest.mark.parametrize("public_key", LOW_ORDER, ids=lambda key: key.hex()[:8])
def test_refuses_keys_of_low_order(public_key: bytes) -> None:
    for high_bit in (0, 0x80):  # which X25519 ignores
        with pytest.raises(UnusableRecipientKey):
            ExportSeal(public_key[:31] + bytes([public_key[31] | high_bit]))


def test_refuses_a_key_that_its_holder_would_write_otherwise() -> None:
    unreduced = (9 + 2**255 - 19).to_bytes(32, "little")  # the base point, which X25519 itself would take
    with pytest.raises(UnusableRecipientKey):
        ExportSeal(unreduced)


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_refuses_keys_of_another_length(length: int) -> None:
    with pytest.raises(UnusableRecipientKey):
        ExportSeal(b"\x09" * length)


def test_the_documented_lines_open_an_export() -> None:
    block = re.search(
        r"```python\n(from base64 import b64decode\nfrom pyhpke.*?)```", PAGE.read_text(), re.DOTALL
    )
    assert block is not None
    recipient = X25519PrivateKey.generate()
    sealed = _sealed(recipient)
    answer = {
        "walletAddress": ADDRESS,
        "encapsulatedKey": base64.b64encode(sealed.encapsulated_key).decode(),
        "ciphertext": base64.b64encode(sealed.ciphertext).decode(),
    }
    names: dict[str, Any] = {"recipient": recipient, "answer": answer}
    exec(block[1], names)  # noqa: S102 # our own page
    assert names["private_key"] == KEY.reveal()
