"""Wallets at rest, checked by a decoder that shares neither code nor libraries with the service."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kms_service import ethereum
from kms_service.crypto import envelope
from kms_service.crypto.envelope import PhraseSecret, WalletSecret
from kms_service.crypto.material import DataKey, Mnemonic, PrivateKey
from kms_service.errors import IntegrityFailure
from vectors import decoder, derivation, generate
from vectors.rows import ABOUT, JUNK

HERE = Path(__file__).parent
ACCEPT, MUST_FAIL, ACCEPT_V2, MUST_FAIL_V2 = (
    json.loads((HERE / f"{name}.json").read_text())["vectors"]
    for name in ("accept", "must_fail", "accept_v2", "must_fail_v2")
)
NOT_THE_KEYS_PHRASE = [vector for vector in MUST_FAIL_V2 if vector["stage"] == "phrase"]

# Published: Hardhat's and Foundry's first account; the first account of BIP-39's all-zero entropy.
KNOWN = {
    JUNK: "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
    ABOUT: "0x9858EfFD232B4033E47d90003D41EC34EcaEda94",
}


def _each(vectors: list[dict[str, str]]) -> pytest.MarkDecorator:
    names = [f"{each['encrypted_seed'][:2]} {each.get('name') or each['reason']}" for each in vectors]
    return pytest.mark.parametrize("vector", vectors, ids=names)


def _row(vector: dict[str, str]) -> dict[str, Any]:
    return {
        "user_id": vector["user_id"],
        "wallet_address": vector["wallet_address"],
        "dek": bytes.fromhex(vector["dek"]),
        "encrypted_seed": bytes.fromhex(vector["encrypted_seed"]),
    }


def test_the_files_are_what_the_generator_writes() -> None:
    for name, text in generate.render().items():
        assert (HERE / name).read_text() == text, f"{name}: run tests/vectors/generate.py"


@pytest.mark.parametrize("vectors", [ACCEPT + MUST_FAIL, ACCEPT_V2 + MUST_FAIL_V2], ids=["v1", "v2"])
def test_no_two_vectors_are_the_same(vectors: list[dict[str, str]]) -> None:
    contents = Counter(json.dumps({**vector, "name": "", "reason": "", "stage": ""}) for vector in vectors)
    names = Counter(vector.get("name") or vector["reason"] for vector in vectors)
    assert max(contents.values()) == max(names.values()) == 1


def test_published_addresses_are_among_the_vectors() -> None:
    found = {vector["mnemonic"]: vector["wallet_address"] for vector in ACCEPT}
    assert found.items() >= KNOWN.items()


def test_keys_with_a_leading_zero_are_among_the_vectors() -> None:
    by_name = {vector["name"]: vector for vector in ACCEPT}
    assert by_name["zero byte first in the key"]["private_key"].startswith("00")
    phrase = by_name["zero byte first in a parent"]["mnemonic"]
    assert derivation.private_key(phrase, derivation.ETHEREUM[:2])[0] == 0


def test_imported_keys_without_a_phrase_are_among_the_vectors() -> None:
    assert len([vector for vector in ACCEPT_V2 if not vector["mnemonic"]]) >= 4
    assert {len(vector["mnemonic"].split()) for vector in ACCEPT_V2} >= {12, 15, 18, 21, 24}


@_each(ACCEPT + ACCEPT_V2)
def test_the_second_decoder_opens_every_vector_to_accept(vector: dict[str, str]) -> None:
    wallet = decoder.verify_row(**_row(vector))
    assert (wallet.mnemonic or "") == vector["mnemonic"]
    assert wallet.private_key.hex() == vector["private_key"]
    assert wallet.compressed_public_key == vector.get("compressed_public_key", wallet.compressed_public_key)
    version = bytes.fromhex(vector["encrypted_seed"][:2])
    assert decoder.aad(vector["user_id"], vector["wallet_address"], version).hex() == vector["aad"]
    assert vector["encrypted_seed"][2:].startswith(vector["nonce"])


@_each(MUST_FAIL + MUST_FAIL_V2)
def test_the_second_decoder_refuses_every_vector_that_must_fail(vector: dict[str, str]) -> None:
    with pytest.raises(decoder.Rejected) as verdict:
        decoder.verify_row(**_row(vector))
    assert verdict.value.stage == vector["stage"]


@_each(ACCEPT)
def test_the_service_opens_every_vector_with_a_phrase(vector: dict[str, str]) -> None:
    row = _row(vector)
    contents = envelope.decrypt(row.pop("encrypted_seed"), DataKey(row.pop("dek")), **row)
    assert isinstance(contents, PhraseSecret)
    assert contents.mnemonic.reveal() == vector["mnemonic"]
    account = ethereum.derive(contents.mnemonic)
    assert account.address == vector["wallet_address"]
    assert account.private_key.reveal().hex() == vector["private_key"]


@_each(ACCEPT_V2)
def test_the_service_decrypts_and_encrypts_the_same_bytes(vector: dict[str, str]) -> None:
    row = _row(vector)
    dek, seed = DataKey(row.pop("dek")), row.pop("encrypted_seed")
    contents = envelope.decrypt(seed, dek, **row)
    assert isinstance(contents, WalletSecret)
    assert ("" if contents.mnemonic is None else contents.mnemonic.reveal()) == vector["mnemonic"]
    assert contents.private_key.reveal().hex() == vector["private_key"]
    assert envelope._encrypt(contents, dek, bytes.fromhex(vector["nonce"]), *row.values()) == seed
    account = ethereum.account_of(contents.private_key)
    assert account.address == vector["wallet_address"]
    assert account.compressed_public_key == vector["compressed_public_key"]


@_each([vector for vector in MUST_FAIL + MUST_FAIL_V2 if vector["stage"] != "phrase"])
def test_the_service_refuses_every_vector_that_must_fail(vector: dict[str, str]) -> None:
    # tests/integration/test_opening.py walks the service's own road through all its checks.
    with pytest.raises((IntegrityFailure, ValueError)):
        _address_opened(vector)


@_each(NOT_THE_KEYS_PHRASE)
def test_a_phrase_that_does_not_belong_to_its_key_does_not_derive_to_it(vector: dict[str, str]) -> None:
    contents = _open(vector)
    assert isinstance(contents, WalletSecret)
    assert contents.mnemonic is not None
    assert _address_opened(vector) == vector["wallet_address"]
    with pytest.raises(IntegrityFailure):
        _same(ethereum.derive_imported(contents.mnemonic).address, vector)


def _open(vector: dict[str, str]) -> PhraseSecret | WalletSecret:
    row = _row(vector)
    dek, seed = DataKey(row.pop("dek")), row.pop("encrypted_seed")
    return envelope.decrypt(seed, dek, **row)


def _address_opened(vector: dict[str, str]) -> str:
    contents = _open(vector)
    if isinstance(contents, PhraseSecret):
        return _same(ethereum.derive(contents.mnemonic).address, vector)
    return _same(ethereum.account_of(contents.private_key).address, vector)


def _same(address: str, vector: dict[str, str]) -> str:
    if address != vector["wallet_address"]:
        raise IntegrityFailure("address")
    return address


@pytest.mark.parametrize("with_phrase", [True, False])
def test_what_the_service_encrypts_the_second_decoder_opens(with_phrase: bool) -> None:
    mnemonic, dek = ethereum.generate_mnemonic(), envelope.new_data_key()
    account = ethereum.derive(mnemonic)
    contents = WalletSecret(account.private_key, mnemonic if with_phrase else None)
    identity = {"user_id": "alice", "wallet_address": account.address}
    seed = envelope.encrypt(contents, dek, **identity)
    wallet = decoder.verify_row(dek=dek.reveal(), encrypted_seed=seed, **identity)
    assert wallet.mnemonic == (mnemonic.reveal() if with_phrase else None)
    assert wallet.private_key == account.private_key.reveal()


@given(key=st.integers(1, derivation._ORDER - 1), phrase=st.text(max_size=120))
def test_any_key_and_any_text_come_back_unchanged(key: int, phrase: str) -> None:
    private_key = PrivateKey(key.to_bytes(32))
    identity = {"user_id": "alice", "wallet_address": ethereum.account_of(private_key).address}
    dek = DataKey(bytes(32))
    seed = envelope.encrypt(WalletSecret(private_key, Mnemonic(phrase) if phrase else None), dek, **identity)
    assert len(seed) == 1 + 12 + 32 + len(phrase.encode()) + 16
    contents = envelope.decrypt(seed, dek, **identity)
    assert isinstance(contents, WalletSecret)
    assert contents.private_key.reveal() == private_key.reveal()
    assert ("" if contents.mnemonic is None else contents.mnemonic.reveal()) == phrase
