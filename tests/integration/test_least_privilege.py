"""Each role can do its one thing under the policy of the pool's keys, and nothing else, end to end."""

import json

import pytest

from event_loop import complete
from kms_endpoint import KmsEndpoint
from kms_service.errors import KmsKeyUnusable, NoUsableKey
from kms_service.kms.control_plane.key_policy import Roles, key_policy
from kms_service.settings import Settings
from wiring import TESTER, running_services

ACCOUNT = "arn:aws:iam::111122223333"
CREATE, REVEAL = f"{ACCOUNT}:role/create", f"{ACCOUNT}:role/reveal"


@pytest.fixture
def split(kms_endpoint: KmsEndpoint) -> KmsEndpoint:
    """KMS where one role may make wallets and another one open them."""
    policy = key_policy(f"{ACCOUNT}:root", Roles(create=[CREATE], reveal=[REVEAL]))
    for key in kms_endpoint.store.keys.values():
        key.policy = json.dumps(policy)
    return kms_endpoint


def test_the_creating_role_makes_wallets_and_opens_none(split: KmsEndpoint, settings: Settings) -> None:
    split.principal = CREATE
    with running_services(settings) as services:
        complete(services.wallets.create_wallet(TESTER, "user"))
        with pytest.raises(KmsKeyUnusable):
            complete(services.wallets.get_private_key_for_user(TESTER, "user"))


def test_the_revealing_role_opens_wallets_and_makes_none(split: KmsEndpoint, settings: Settings) -> None:
    split.principal = CREATE
    with running_services(settings) as services:
        address = complete(services.wallets.create_wallet(TESTER, "user")).wallet_address
    split.principal = REVEAL
    with running_services(settings) as services:
        assert complete(services.wallets.get_private_key_for_user(TESTER, "user")).wallet_address == address
        with pytest.raises(NoUsableKey):
            complete(services.wallets.create_wallet(TESTER, "another"))
