"""Invariant 14: what has no caller is an error, never somebody without bounds."""

import pytest

from event_loop import complete
from kms_endpoint import KmsEndpoint
from kms_service.access import limits
from kms_service.bootstrap import Services
from kms_service.errors import NotAuthenticated


@pytest.mark.invariant(14)
def test_nothing_is_released_to_nobody(services: Services, kms_endpoint: KmsEndpoint) -> None:
    complete(services.wallets.create_wallet("alice"))
    asked = kms_endpoint.count("Decrypt")
    token = limits.caller.set(None)
    try:
        with pytest.raises(NotAuthenticated):
            complete(services.wallets.get_private_key_for_user("alice"))
    finally:
        limits.caller.reset(token)
    assert kms_endpoint.count("Decrypt") == asked
