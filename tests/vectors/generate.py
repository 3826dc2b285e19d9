"""Writes wallets at rest that open, and ones that must not: `accept.json` and `must_fail.json` in version 1
of the envelope, `accept_v2.json` and `must_fail_v2.json` in version 2.

    python tests/vectors/generate.py

Always the same bytes. Uses the low-level ciphers of `cryptography` and the derivation beside this file;
nothing of the service.
"""

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from vectors import corruptions, derivation
from vectors.rows import ABOUT, JUNK, Row, account_row_of, associated_data, draw, row_of

HERE = Path(__file__).parent
ALL_CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:@-"

# Entropy `counter.to_bytes(16)` of phrases with a zero byte first in the key or in m/44'/60':
# libraries that drop it derive another wallet. Found by counting up from 1.
ZERO_IN_KEY = 98
ZERO_IN_PARENT = 464


def accepted_phrases() -> Iterator[tuple[str, str, str]]:
    """Name, user and phrase of every wallet that must open."""
    yield "the phrase of Hardhat and Foundry", "alice", JUNK
    yield "BIP-39's all-zero entropy", "bob", ABOUT
    yield "BIP-39's 7f entropy", "a", derivation.phrase(b"\x7f" * 16)
    yield "BIP-39's 80 entropy", "A", derivation.phrase(b"\x80" * 16)
    yield "BIP-39's all-one entropy", "zoo:zoo", derivation.phrase(b"\xff" * 16)
    yield "longest user", "u" * 128, derivation.phrase(draw("longest", 16))
    yield "every character a user may have", ALL_CHARACTERS, derivation.phrase(draw("characters", 16))
    yield "user that looks like an address", "0x" + "00" * 20, derivation.phrase(draw("lookalike", 16))
    yield "zero byte first in the key", "zero-in-key", derivation.phrase(ZERO_IN_KEY.to_bytes(16))
    yield "zero byte first in a parent", "zero-in-parent", derivation.phrase(ZERO_IN_PARENT.to_bytes(16))
    for number in range(6):
        user = f"user-{number}@example.org"
        yield f"drawn phrase {number}", user, derivation.phrase(draw(f"drawn {number}", 16))


def accepted_accounts() -> Iterator[tuple[str, str, bytes, str]]:
    """Name, user, key and phrase of every wallet of version 2 that must open; some have no phrase."""
    for name, user, phrase in accepted_phrases():
        yield name, user, derivation.private_key(phrase), phrase
    for size, words in ((20, "fifteen"), (24, "eighteen"), (28, "twenty-one"), (32, "twenty-four")):
        phrase = derivation.phrase(draw(f"{words} words", size))
        yield f"imported phrase of {words} words", f"imported-{size}", derivation.private_key(phrase), phrase
    for name, key in (
        ("drawn", draw("bare key", 32)),
        ("one", (1).to_bytes(32)),
        ("order less one", (corruptions.ORDER - 1).to_bytes(32)),
        ("ASCII digits", b"0123456789abcdef" * 2),
    ):
        yield f"imported bare key: {name}", f"bare-{name.replace(' ', '-')}", key, ""


def render() -> dict[str, str]:
    """The text of each file, by name."""
    return {
        "accept.json": _document(_accept_vectors()),
        "must_fail.json": _document(_must_fail_vectors()),
        "accept_v2.json": _document(_accept_accounts()),
        "must_fail_v2.json": _document(_must_fail_accounts()),
    }


def _accept_vectors() -> Iterator[dict[str, str]]:
    for name, user_id, phrase in accepted_phrases():
        row = row_of(user_id, phrase)
        yield {
            "name": name,
            "mnemonic": phrase,
            **row.fields(),
            "nonce": row.encrypted_seed[1:13].hex(),
            "aad": associated_data(user_id, row.wallet_address).hex(),
            "private_key": derivation.private_key(phrase).hex(),
        }


def _accept_accounts() -> Iterator[dict[str, str]]:
    for name, user_id, key, phrase in accepted_accounts():
        row = account_row_of(user_id, key, phrase)
        yield {
            "name": name,
            "mnemonic": phrase,
            **row.fields(),
            "nonce": row.encrypted_seed[1:13].hex(),
            "aad": associated_data(user_id, row.wallet_address, 2).hex(),
            "private_key": key.hex(),
            "compressed_public_key": derivation.compressed_public_key(key),
        }


def _must_fail_vectors() -> Iterator[dict[str, str]]:
    yield from _label("envelope", corruptions.bad_envelopes())
    yield from _label("contents", corruptions.bad_contents())


def _must_fail_accounts() -> Iterator[dict[str, str]]:
    yield from _label("envelope", corruptions.bad_account_envelopes())
    yield from _label("contents", corruptions.bad_accounts())
    yield from _label("phrase", corruptions.bad_phrases())


def _label(stage: str, rows: Iterable[tuple[str, Row]]) -> Iterator[dict[str, str]]:
    for reason, row in rows:
        yield {"reason": reason, "stage": stage, **row.fields()}


def _document(vectors: Iterator[dict[str, str]]) -> str:
    return json.dumps({"vectors": list(vectors)}, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for name, text in render().items():
        (HERE / name).write_text(text)
