"""Invariant 14: a call without a caller is an error, never a caller without limits."""

from typing import Any, cast

import psycopg
import pytest
from fastapi import Request

from event_loop import complete
from kms_endpoint import KmsEndpoint
from kms_service.api.callers import caller_of
from kms_service.bootstrap import Services
from kms_service.errors import NotAuthenticated
from wiring import TESTER

NOBODY = cast("Any", None)


@pytest.mark.invariant(14)
def test_nothing_is_released_or_changed_for_nobody(
    services: Services, kms_endpoint: KmsEndpoint, database_url: str
) -> None:
    complete(services.wallets.create_wallet(TESTER, "alice"))
    asked = kms_endpoint.count("Decrypt"), kms_endpoint.count("Encrypt")
    for work in (
        services.wallets.get_private_key_for_user(NOBODY, "alice"),
        services.wallets.export_private_key(NOBODY, "alice", bytes([9]) + bytes(31)),
        services.seal.seal(NOBODY, "a drill"),
        services.seal.unseal(NOBODY),
        services.canaries.remove(NOBODY, "alice"),
    ):
        with pytest.raises((AttributeError, NotAuthenticated)):
            complete(work)
    assert (kms_endpoint.count("Decrypt"), kms_endpoint.count("Encrypt")) == asked
    with psycopg.connect(database_url) as connection:
        rows = connection.execute(
            "SELECT action FROM audit_events WHERE action <> 'audit.open' "
            "UNION ALL SELECT reason FROM seal_changes"
        ).fetchall()
    assert rows == [("wallet.create",)]


@pytest.mark.invariant(14)
def test_a_request_without_a_token_has_no_caller() -> None:
    with pytest.raises(NotAuthenticated):
        caller_of(Request({"type": "http", "headers": []}))
