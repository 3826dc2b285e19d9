"""Nothing is released to nobody: the absence of a caller is an error, never 'unlimited' (invariant 14)."""

import pytest

from event_loop import complete
from kms_endpoint import KmsEndpoint
from kms_service.access import limits
from kms_service.bootstrap import Services
from kms_service.errors import NotAuthenticated


@pytest.mark.invariant(14)
def test_no_key_is_opened_without_a_caller(services: Services, kms_endpoint: KmsEndpoint) -> None:
    complete(services.wallets.ensure_wallet("alice"))
    before = kms_endpoint.count("Decrypt")
    limits.caller.set(None)
    with pytest.raises(NotAuthenticated):
        complete(services.wallets.get_private_key_for_user("alice"))
    assert kms_endpoint.count("Decrypt") == before
