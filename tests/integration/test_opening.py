"""Invariant 4 on the vectors: the service's own way from a row to a key, through KMS."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from event_loop import complete
from kms_endpoint import Fault, FlippedPlaintext, KmsEndpoint, OtherKeyId, ShortPlaintext
from kms_service.bootstrap import Services
from kms_service.errors import IntegrityFailure
from kms_service.store.wallets.walk import Chosen
from planting import plant, with_mac
from wiring import TESTER, FreshDatabase, running_services, settings_for

pytestmark = pytest.mark.invariant(4)

VECTORS = Path(__file__).parents[1] / "vectors"
ACCEPT, ACCEPT_V2, *_MUST_FAIL = (
    json.loads((VECTORS / f"{name}.json").read_text())["vectors"]
    for name in ("accept", "accept_v2", "must_fail", "must_fail_v2")
)
# KMS encrypts no empty plaintext, so no row can hold a DEK of no bytes. A wrong phrase beside the right key
# is what `verify` finds; it releases the right key.
MUST_FAIL = [
    vector for vectors in _MUST_FAIL for vector in vectors if vector["dek"] and vector["stage"] != "phrase"
]
WRONG_PHRASES = [vector for vector in _MUST_FAIL[1] if vector["stage"] == "phrase"]
CONTEXT_PURPOSE = "wallet-dek"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[KmsEndpoint]:
    with KmsEndpoint() as endpoint:
        endpoint.add_pool("Empressa-wallet-key", 10)
        yield endpoint


@pytest.fixture(scope="module")
def services(fresh_database: FreshDatabase, endpoint: KmsEndpoint) -> Iterator[Services]:
    with fresh_database() as url, running_services(settings_for(url, endpoint)) as services:
        yield services


def _private_key(services: Services, endpoint: KmsEndpoint, vector: dict[str, str]) -> bytes:
    """What the service answers when the table holds this row, its DEK wrapped as the contract says."""
    key = endpoint.key("alias/Empressa-wallet-key-1")
    context = {"purpose": CONTEXT_PURPOSE, "wallet_address": vector["wallet_address"]}
    row = {
        "user_id": vector["user_id"],
        "wallet_address": vector["wallet_address"],
        "encrypted_seed": bytes.fromhex(vector["encrypted_seed"]),
        "encrypted_dek": key.wrap(bytes.fromhex(vector["dek"]), context),
        "kms_key_id": key.arn,
        "kms_region": endpoint.region,
    }
    plant(services, with_mac(services, row))
    return complete(services.wallets.get_private_key_for_user(TESTER, vector["user_id"])).private_key.reveal()


@pytest.mark.parametrize("vector", ACCEPT + ACCEPT_V2, ids=lambda vector: vector["name"])
def test_a_row_of_the_contract_opens(
    services: Services, endpoint: KmsEndpoint, vector: dict[str, str]
) -> None:
    assert _private_key(services, endpoint, vector).hex() == vector["private_key"]


@pytest.mark.parametrize("vector", MUST_FAIL, ids=lambda vector: vector["reason"])
def test_every_row_that_must_not_open_gives_the_same_error(
    services: Services, endpoint: KmsEndpoint, vector: dict[str, str]
) -> None:
    with pytest.raises(IntegrityFailure) as error:
        _private_key(services, endpoint, vector)
    assert str(error.value) == "The stored wallet does not open."


@pytest.mark.parametrize("lie", ["another key", "short", "flipped"])
def test_a_lying_reply_is_refused(services: Services, endpoint: KmsEndpoint, lie: str) -> None:
    other = endpoint.key("alias/Empressa-wallet-key-2").arn
    lies: dict[str, Fault] = {
        "another key": OtherKeyId(other),
        "short": ShortPlaintext(),
        "flipped": FlippedPlaintext(),
    }
    with endpoint.on("Decrypt").answer(lies[lie]) as rule, pytest.raises(IntegrityFailure):
        _private_key(services, endpoint, ACCEPT[0])
    assert rule.hits == 1
    assert _private_key(services, endpoint, ACCEPT[0]).hex() == ACCEPT[0]["private_key"]


@pytest.mark.parametrize("vector", WRONG_PHRASES, ids=lambda vector: vector["reason"])
def test_a_phrase_that_does_not_belong_to_its_key_is_found_by_verify(
    services: Services, endpoint: KmsEndpoint, vector: dict[str, str]
) -> None:
    assert _private_key(services, endpoint, vector)
    run = complete(
        services.wallet_verifier.verify(
            TESTER,
            Chosen(),
            after="",
            at_once=1,
            rate_per_second=None,
            authenticate=False,
            report=lambda *_: None,
        )
    )
    found = [each.reason for each in run.failures if each.code == "integrity_failure"]
    assert found in (["phrase"], ["mnemonic"])


def test_decrypt_names_the_key_and_the_context(services: Services, endpoint: KmsEndpoint) -> None:
    _private_key(services, endpoint, ACCEPT[0])
    asked = endpoint.find_requests("Decrypt")[-1]
    assert asked.key_id == endpoint.key("alias/Empressa-wallet-key-1").arn
    assert asked.context == {"purpose": CONTEXT_PURPOSE, "wallet_address": ACCEPT[0]["wallet_address"]}
