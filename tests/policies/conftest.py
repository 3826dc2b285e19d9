"""A running service, and tokens bound by policies in it."""

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest

from calling import ALL, Service, serving
from event_loop import complete
from kms_endpoint import KmsEndpoint
from policies.requests import SHIPPED
from wiring import TESTER, FreshDatabase, settings_for

_numbers = count(1)
Bound = Callable[..., str]


@pytest.fixture(scope="module")
def service(fresh_database: FreshDatabase) -> Iterator[Service]:
    """Shared by a module's tests: each uses policies, tokens and users of its own."""
    with fresh_database() as url, KmsEndpoint() as endpoint:
        endpoint.add_pool("Empressa-wallet-key", 10)
        with serving(settings_for(url, endpoint), endpoint) as service:
            yield service


@pytest.fixture
def set_policy(service: Service) -> Callable[[bytes], str]:
    """Sets a document as a policy of its own and gives its name."""

    def set_one(document: bytes) -> str:
        name = f"policy-{next(_numbers)}"
        complete(service.services.policies.set(TESTER, name, document))
        return name

    return set_one


@pytest.fixture
def token_under(service: Service) -> Callable[[str], str]:
    """Makes a token of every scope that a policy bounds: in the hands of an attacker, from now on."""

    def make(policy: str, **changes: Any) -> str:
        options = {
            "expires_in": None,
            "private_key_reads_per_minute": None,
            "signatures_per_minute": None,
            "policy": policy,
            **changes,
        }
        made = complete(service.services.tokens.create(TESTER, f"bound-{next(_numbers)}", ALL, **options))
        return made.secret

    return make


@pytest.fixture
def stolen(set_policy: Callable[[bytes], str], token_under: Bound) -> str:
    """A token of every scope with a checkout policy of its own."""
    return token_under(set_policy((SHIPPED / "checkout.json").read_bytes()))


@pytest.fixture
def shopper(service: Service) -> str:
    """A fresh user of the shop, with a wallet."""
    user = f"shop-{next(_numbers)}"
    assert service.create(user).status_code == 201
    return user
