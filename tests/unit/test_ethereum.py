"""From a phrase to an account, compared with published vectors; no error holds a phrase."""

import json
import traceback
from pathlib import Path

import pytest

from kms_service import ethereum
from kms_service.crypto.material import Mnemonic
from kms_service.errors import IntegrityFailure

ACCEPT = json.loads((Path(__file__).parents[1] / "vectors" / "accept.json").read_text())["vectors"]
JUNK = "test test test test test test test test test test test junk"


def test_the_first_account_of_the_phrase_that_every_tool_ships() -> None:
    """Hardhat's, Foundry's and Ganache's account 0, at the same path."""
    account = ethereum.derive(Mnemonic(JUNK))
    assert account.address == "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
    assert (
        account.private_key.reveal().hex()
        == "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
    )


@pytest.mark.parametrize("vector", ACCEPT, ids=[vector["name"] for vector in ACCEPT])
def test_a_published_vector_derives_to_its_account(vector: dict[str, str]) -> None:
    account = ethereum.derive(Mnemonic(vector["mnemonic"]))
    assert (account.address, account.private_key.reveal().hex()) == (
        vector["wallet_address"],
        vector["private_key"],
    )


def test_generated_phrases_are_twelve_good_english_words_and_all_different() -> None:
    phrases = {ethereum.generate_mnemonic().reveal() for _ in range(50)}
    assert len(phrases) == 50
    for phrase in phrases:
        assert len(phrase.split(" ")) == 12
        assert ethereum.derive(Mnemonic(phrase)).address.startswith("0x")


@pytest.mark.invariant(8)
@pytest.mark.parametrize(
    "phrase",
    [
        "",
        "canary " * 11 + "canary",
        "test " * 11 + "test",
        JUNK.upper(),
        JUNK + " ",
        " " + JUNK,
        JUNK.replace(" ", "  "),
        JUNK.replace(" ", "\u3000"),
        JUNK + " junk",
        " ".join(JUNK.split()[:11]),
        "ábaco " * 11 + "abierto",
    ],
)
def test_anything_but_twelve_words_with_their_checksum_is_refused_wordlessly(phrase: str) -> None:
    with pytest.raises(IntegrityFailure) as error:
        ethereum.derive(Mnemonic(phrase))
    shown = "".join(traceback.format_exception_only(error.value))
    assert not any(word in shown for word in ("canary", "junk", "test", "abierto"))
    assert error.value.__cause__ is error.value.__context__ is None
