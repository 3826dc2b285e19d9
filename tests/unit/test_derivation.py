import random

import pytest
from eth_account.hdaccount import key_from_seed, seed_from_mnemonic
from eth_keys import keys
from mnemonic import Mnemonic as Bip39

from kms_service import ethereum
from kms_service.crypto.material import Mnemonic, PrivateKey
from kms_service.errors import IntegrityFailure
from kms_service.ethereum import derivation
from kms_service.ethereum.address import add_checksum, address_of

JUNK = "test test test test test test test test test test test junk"
HARDENED = 1 << 31

# https://github.com/bitcoin/bips/blob/master/bip-0032.mediawiki, test vectors 1 and 3 (leading zeros kept).
BIP32 = [
    (
        "000102030405060708090a0b0c0d0e0f",
        (),
        "e8f32e723decf4051aefac8e2c93c9c5b214313817cdb01a1494b917c8436b35",
    ),
    (
        "000102030405060708090a0b0c0d0e0f",
        (HARDENED, 1, 2 + HARDENED, 2, 1000000000),
        "471b76e389e528d6de6d816857e012c5455051cad6660850e58372a6c3e6e7c8",
    ),
    (
        (
            "4b381541583be4423346c643850da4b320e46a87ae3d2a4e6da11eba819cd4ac"
            "ba45d239319ac14f863b8d5ab5a0d0c64d2e8a1e7d1457df2e5a3c51c73235be"
        ),
        (HARDENED,),
        "491f7a2eebc7b57028e0d3faa0acda02e75c33b03c48fb288c41e2ea44e1daef",
    ),
]

# https://eips.ethereum.org/EIPS/eip-55, test cases.
EIP55 = [
    "0x52908400098527886E0F7030069857D2E4169EE7",
    "0xde709f2102306220921060314715629080e2fb77",
    "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
    "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
    "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
    "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
]


@pytest.mark.parametrize(("seed", "path", "key"), BIP32)
def test_derives_the_published_keys_of_bip32(seed: str, path: tuple[int, ...], key: str) -> None:
    assert derivation._descend(bytes.fromhex(seed), path).hex() == key


@pytest.mark.parametrize("address", EIP55)
def test_checksums_the_published_addresses_of_eip55(address: str) -> None:
    assert add_checksum(bytes.fromhex(address[2:])) == address


def test_derives_the_first_account_of_a_known_phrase() -> None:
    account = ethereum.derive(Mnemonic(JUNK))
    assert account.address == "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
    assert account.private_key.reveal().hex() == (
        "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
    )


def test_derives_what_eth_account_derives() -> None:
    draw = random.Random(55)
    for _ in range(40):
        phrase = Bip39("english").to_mnemonic(draw.randbytes(16))
        expected = key_from_seed(seed_from_mnemonic(phrase, ""), ethereum.DERIVATION_PATH)
        assert ethereum.derive(Mnemonic(phrase)).private_key.reveal() == expected


@pytest.mark.parametrize(
    "phrase",
    [
        "",
        "test " * 11 + "test",
        JUNK.upper(),
        JUNK + " test",
        JUNK.replace(" ", "  "),
        JUNK.replace("junk", "jünk"),
    ],
)
@pytest.mark.invariant(4)
def test_refuses_anything_but_a_phrase_of_twelve_words(phrase: str) -> None:
    with pytest.raises(IntegrityFailure) as refusal:
        ethereum.derive(Mnemonic(phrase))
    assert "test" not in str(refusal.value)
    assert refusal.value.reason == "mnemonic"


def test_accepts_the_phrases_that_the_library_accepts() -> None:
    draw = random.Random(39)
    english = Bip39("english")
    for _ in range(400):
        words = english.to_mnemonic(draw.randbytes(16)).split(" ")
        words[draw.randrange(12)] = draw.choice(english.wordlist)
        phrase = " ".join(words)
        if english.check(phrase):
            ethereum.derive(Mnemonic(phrase))
        else:
            with pytest.raises(IntegrityFailure):
                ethereum.derive(Mnemonic(phrase))


@pytest.mark.parametrize("public_key", [b"", b"\x04" * 64, b"\x02" * 65])
def test_an_address_needs_an_uncompressed_public_key(public_key: bytes) -> None:
    with pytest.raises(ValueError, match="uncompressed"):
        address_of(public_key)


ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


@pytest.mark.parametrize("bits", [128, 160, 192, 224, 256])
def test_imported_phrases_of_every_length_derive_as_in_eth_account(bits: int) -> None:
    draw = random.Random(bits)
    for _ in range(10):
        phrase = Bip39("english").to_mnemonic(draw.randbytes(bits // 8))
        expected = key_from_seed(seed_from_mnemonic(phrase, ""), ethereum.DERIVATION_PATH)
        assert ethereum.derive_imported(Mnemonic(phrase)).private_key.reveal() == expected
        words = phrase.split(" ")
        words[draw.randrange(len(words))] = draw.choice(Bip39("english").wordlist)
        if not Bip39("english").check(" ".join(words)):
            with pytest.raises(IntegrityFailure):
                ethereum.derive_imported(Mnemonic(" ".join(words)))


@pytest.mark.parametrize("words", [0, 3, 6, 9, 11, 13, 14, 27, 48])
def test_a_phrase_of_another_length_is_not_imported(words: int) -> None:
    with pytest.raises(IntegrityFailure) as refusal:
        ethereum.derive_imported(Mnemonic(" ".join(["abandon"] * words)))
    assert refusal.value.reason == "mnemonic"


def test_a_phrase_made_here_has_twelve_words() -> None:
    longer = Bip39("english").to_mnemonic(bytes(32))
    with pytest.raises(IntegrityFailure):
        ethereum.derive(Mnemonic(longer))


@pytest.mark.parametrize("number", [1, 2, ORDER // 2, ORDER - 1])
def test_the_account_of_a_key_is_the_one_that_eth_keys_derives(number: int) -> None:
    account = ethereum.account_of(PrivateKey(number.to_bytes(32)))
    expected = keys.PrivateKey(number.to_bytes(32)).public_key
    assert account.address == expected.to_checksum_address()
    assert account.compressed_public_key == "0x" + expected.to_compressed_bytes().hex()


@pytest.mark.parametrize("number", [0, ORDER, ORDER + 1, 2**256 - 1])
def test_a_number_out_of_range_is_not_a_private_key(number: int) -> None:
    with pytest.raises(IntegrityFailure) as refusal:
        ethereum.account_of(PrivateKey(number.to_bytes(32)))
    assert refusal.value.reason == "private key"
    assert refusal.value.__cause__ is None


@pytest.mark.parametrize(
    ("phrase", "fault"),
    [
        (JUNK, None),
        (Bip39("english").to_mnemonic(bytes(32)), None),
        (JUNK.upper(), "has a word that is not in BIP-39's English list"),
        ("test " * 11 + "test", "has a wrong checksum"),
        (JUNK + " ", "does not have 12, 15, 18, 21 or 24 words with one space between"),
        ("", "does not have 12, 15, 18, 21 or 24 words with one space between"),
    ],
)
def test_a_faulty_phrase_is_reported_without_its_words(phrase: str, fault: str | None) -> None:
    assert ethereum.fault_of_phrase(Mnemonic(phrase)) == fault
