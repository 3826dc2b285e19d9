"""Wallets at rest, checked by a decoder that shares neither code nor libraries with the service."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from kms_service import ethereum
from kms_service.crypto import envelope
from kms_service.crypto.material import DataKey
from kms_service.errors import IntegrityFailure
from vectors import decoder, derivation, generate
from vectors.rows import ABOUT, JUNK

HERE = Path(__file__).parent
ACCEPT = json.loads((HERE / "accept.json").read_text())["vectors"]
MUST_FAIL = json.loads((HERE / "must_fail.json").read_text())["vectors"]

# Published: Hardhat's and Foundry's first account; the first account of BIP-39's all-zero entropy.
KNOWN = {
    JUNK: "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
    ABOUT: "0x9858EfFD232B4033E47d90003D41EC34EcaEda94",
}

accepted = pytest.mark.parametrize("vector", ACCEPT, ids=[vector["name"] for vector in ACCEPT])
refused = pytest.mark.parametrize("vector", MUST_FAIL, ids=[vector["reason"] for vector in MUST_FAIL])


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


def test_no_two_vectors_are_the_same() -> None:
    contents = Counter(
        json.dumps({**vector, "name": "", "reason": "", "stage": ""}) for vector in ACCEPT + MUST_FAIL
    )
    names = Counter(vector.get("name") or vector["reason"] for vector in ACCEPT + MUST_FAIL)
    assert max(contents.values()) == max(names.values()) == 1


def test_published_addresses_are_among_the_vectors() -> None:
    found = {vector["mnemonic"]: vector["wallet_address"] for vector in ACCEPT}
    assert found.items() >= KNOWN.items()


def test_keys_with_a_leading_zero_are_among_the_vectors() -> None:
    by_name = {vector["name"]: vector for vector in ACCEPT}
    assert by_name["zero byte first in the key"]["private_key"].startswith("00")
    phrase = by_name["zero byte first in a parent"]["mnemonic"]
    assert derivation.private_key(phrase, derivation.ETHEREUM[:2])[0] == 0


@accepted
def test_the_second_decoder_opens(vector: dict[str, str]) -> None:
    wallet = decoder.open_row(**_row(vector))
    assert wallet.mnemonic == vector["mnemonic"]
    assert wallet.private_key.hex() == vector["private_key"]
    assert decoder.aad(vector["user_id"], vector["wallet_address"]).hex() == vector["aad"]
    assert vector["encrypted_seed"].startswith("01" + vector["nonce"])


@refused
def test_the_second_decoder_refuses(vector: dict[str, str]) -> None:
    with pytest.raises(decoder.Rejected) as verdict:
        decoder.open_row(**_row(vector))
    assert verdict.value.stage == vector["stage"]


@accepted
def test_the_service_opens_and_seals_the_same_bytes(vector: dict[str, str]) -> None:
    row = _row(vector)
    dek, seed = DataKey(row.pop("dek")), row.pop("encrypted_seed")
    mnemonic = envelope.open_(seed, dek, **row)
    assert mnemonic.reveal() == vector["mnemonic"]
    assert envelope._seal(mnemonic, dek, bytes.fromhex(vector["nonce"]), *row.values()) == seed
    account = ethereum.derive(mnemonic)
    assert account.address == vector["wallet_address"]
    assert account.private_key.reveal().hex() == vector["private_key"]


@refused
def test_the_service_refuses(vector: dict[str, str]) -> None:
    # tests/integration/test_opening.py walks the service's own road through all four checks.
    with pytest.raises((IntegrityFailure, ValueError)):
        _address_opened(vector)


def _address_opened(vector: dict[str, str]) -> str:
    row = _row(vector)
    dek, seed = DataKey(row.pop("dek")), row.pop("encrypted_seed")
    address = ethereum.derive(envelope.open_(seed, dek, **row)).address
    if address != vector["wallet_address"]:
        raise IntegrityFailure("address")
    return address


def test_what_the_service_seals_the_second_decoder_opens() -> None:
    mnemonic, dek = ethereum.generate_mnemonic(), envelope.new_data_key()
    identity = {"user_id": "alice", "wallet_address": ethereum.derive(mnemonic).address}
    seed = envelope.seal(mnemonic, dek, **identity)
    wallet = decoder.open_row(dek=dek.reveal(), encrypted_seed=seed, **identity)
    assert wallet.mnemonic == mnemonic.reveal()
