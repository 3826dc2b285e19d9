"""Invariant 1: key material leaves its object through `reveal()` and in no other way."""

import copy
import dataclasses
import json
import logging
import pickle
import pprint
import traceback
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from kms_service.crypto.material import DataKey, Mnemonic, PrivateKey, WrappedDek
from kms_service.ethereum import Account

pytestmark = pytest.mark.invariant(1)

BYTES = b"canary-canary-canary-canary-cana"
PHRASE = "canary canary canary"
SECRETS = (DataKey(BYTES), PrivateKey(BYTES), Mnemonic(PHRASE))

every_secret = pytest.mark.parametrize("secret", SECRETS, ids=lambda secret: type(secret).__name__)
Secret = DataKey | PrivateKey | Mnemonic


@dataclass(frozen=True)
class Holder:
    name: str
    secret: Secret


def _shows(text: str) -> bool:
    return "canary" in text or BYTES.hex() in text


@every_secret
@pytest.mark.parametrize(
    "render",
    [
        str,
        repr,
        ascii,
        "{}".format,
        "{:>40}".format,
        "%s".__mod__,
        "%r".__mod__,
        pprint.pformat,
        lambda secret: f"{secret}",
        lambda secret: f"{secret!r:>40}",
        lambda secret: repr([secret, {"key": secret}]),
        lambda secret: repr(Holder("alice", secret)),
        lambda secret: json.dumps({"key": secret}, default=str),
        lambda secret: str(ValueError(secret)),
        lambda secret: logging.LogRecord("n", 10, "p", 1, "%s", (secret,), None).getMessage(),
    ],
)
def test_no_rendering_shows_a_secret(secret: Secret, render: Callable[[object], str]) -> None:
    text = render(secret)
    assert not _shows(text)
    assert "secret" in text


@every_secret
@pytest.mark.parametrize(
    "road",
    [
        *(lambda secret, protocol=protocol: pickle.dumps(secret, protocol) for protocol in range(6)),
        copy.copy,
        copy.deepcopy,
        json.dumps,
        bytes,
        hash,
        iter,
        len,
        lambda secret: secret + secret,
        lambda secret: secret[0],
        lambda secret: secret == secret,  # noqa: PLR0124 # the comparison is what is tested
        lambda secret: secret != BYTES,
        [PHRASE].index,
        lambda secret: {secret: 1},
        lambda secret: dataclasses.asdict(Holder("alice", secret)),
        vars,
        lambda secret: setattr(secret, "note", 1),
    ],
)
def test_a_secret_leaves_its_object_by_no_other_road(
    secret: Secret, road: Callable[[object], object]
) -> None:
    with pytest.raises((TypeError, AttributeError)) as error:
        road(secret)
    assert not _shows("".join(traceback.format_exception(error.value)))


def test_reveal_returns_the_secret() -> None:
    assert DataKey(BYTES).reveal() == PrivateKey(BYTES).reveal() == BYTES
    assert Mnemonic(PHRASE).reveal() == PHRASE


@pytest.mark.parametrize("kind", [DataKey, PrivateKey])
@pytest.mark.parametrize("length", [0, 16, 31, 33, 64])
def test_a_secret_of_another_length_is_refused_without_a_byte_of_it(kind: type[Secret], length: int) -> None:
    with pytest.raises(ValueError, match="has 32 bytes") as error:
        kind((BYTES * 2)[:length])  # type: ignore[arg-type] # Mnemonic is not among them
    assert not _shows(str(error.value))


def test_a_secret_is_its_own_copy_of_the_bytes() -> None:
    buffer = bytearray(BYTES)
    key = DataKey(buffer)  # type: ignore[arg-type] # what a careless caller may do
    buffer[:] = bytes(32)
    assert key.reveal() == BYTES


def test_holders_show_no_key() -> None:
    assert not _shows(repr(Account("0xabc", "0x02", PrivateKey(BYTES))))


def test_a_wrapped_dek_is_not_secret_and_can_be_compared() -> None:
    assert WrappedDek("arn", "eu-central-1", b"blob") == WrappedDek("arn", "eu-central-1", b"blob")
