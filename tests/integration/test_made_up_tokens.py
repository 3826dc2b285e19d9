"""What a made-up token costs: an HMAC, or in the old form a turn; it never displaces a good caller's."""

from datetime import timedelta

import pytest
from prometheus_client import REGISTRY

from event_loop import complete
from kms_endpoint import Error, KmsEndpoint
from kms_service.access import tokens
from kms_service.access.scopes import Scope
from kms_service.bootstrap import Services, build
from kms_service.errors import KmsUnavailable, NotAuthenticated, Overloaded
from kms_service.service.access import pace
from kms_service.settings import Settings
from planting import change_token
from wiring import TESTER, holder, invented_token

NOTHING = {"expires_in": None, "private_key_reads_per_minute": None, "signatures_per_minute": None}


def _statements() -> float:
    return REGISTRY.get_sample_value("kms_service_database_statement_duration_seconds_count") or 0.0


def _create(services: Services, name: str) -> str:
    made = services.tokens.create(TESTER, name, [Scope.WALLETS_READ], policy=None, **NOTHING)
    return complete(made).secret


def _as_of_before(services: Services, name: str) -> str:
    """A token of the old form, as if it had been made and confirmed: its digest and MAC are right."""
    _create(services, name)
    token = invented_token()
    change_token(services, name, token_sha256=tokens.digest(token))
    return token


def test_a_made_up_token_of_the_new_form_costs_no_statement(services: Services) -> None:
    wrong = tokens.join(bytes(32), bytes(16))
    before = _statements()
    with pytest.raises(NotAuthenticated):
        holder(services, wrong)
    with pytest.raises(NotAuthenticated):
        holder(services, "kms_short")
    assert _statements() == before


def test_a_made_up_token_of_the_old_form_costs_one_statement_and_then_none(services: Services) -> None:
    with pytest.raises(NotAuthenticated):
        holder(services, invented_token())  # after this it knows which are stored
    wrong = invented_token()
    before = _statements()
    for _ in range(3):
        with pytest.raises(NotAuthenticated):
            holder(services, wrong)
    assert _statements() == before + 1


def test_a_good_token_of_the_old_form_works_until_it_is_rotated(services: Services) -> None:
    token = _as_of_before(services, "app")
    assert holder(services, token).name == "app"
    new = complete(services.tokens.rotate(TESTER, "app", overlap=timedelta(hours=1), expires_in=None)).secret
    assert tokens.split(new) is not None
    assert holder(services, token).name == holder(services, new).name == "app"


def test_a_stored_token_waits_for_no_turn(
    settings: Settings, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many others wait for theirs."""
    token = _as_of_before(services, "app")
    standing = build(settings, clock=lambda: 1000.0)
    complete(standing.row_macs.try_to_load())
    monkeypatch.setattr(pace, "LONGEST_SECONDS", 0.1)
    turns = standing.authenticator._look_ups
    while turns.take() <= pace.LONGEST_SECONDS:
        pass
    assert holder(standing, token).name == "app"
    with pytest.raises(Overloaded):
        complete(standing.authenticator.expect(invented_token()))
    complete(standing.close())


def test_many_made_up_tokens_make_the_service_forget_no_good_one(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kms_service.service.access.authenticate.REMEMBERED_TOKENS", 3)
    monkeypatch.setattr("kms_service.service.access.authenticate.REMEMBERED_SECONDS", 600.0)
    good = _create(services, "app")
    assert holder(services, good).name == "app"
    for _ in range(8):
        with pytest.raises(NotAuthenticated):
            holder(services, invented_token())
    before = _statements()
    assert services.authenticator.recall(good) is not None
    assert _statements() == before


def test_a_process_without_its_keys_lets_nobody_in_and_says_why(
    settings: Settings, services: Services, kms_endpoint: KmsEndpoint
) -> None:
    good, wrong = _create(services, "app"), tokens.join(bytes(32), bytes(16))
    with kms_endpoint.on("Decrypt").answer(Error("AccessDeniedException")):
        starting = build(settings)
        complete(starting.row_macs.try_to_load())
        asked = kms_endpoint.count("Decrypt")
        for token in (good, wrong):
            with pytest.raises(KmsUnavailable):
                holder(starting, token)
        assert kms_endpoint.count("Decrypt") == asked, "a made-up token has KMS asked"
        complete(starting.close())


def test_a_revoked_token_is_looked_up_once_in_two_seconds(services: Services) -> None:
    token = _create(services, "app")
    complete(services.tokens.revoke(TESTER, "app"))
    before = _statements()
    for _ in range(3):
        with pytest.raises(NotAuthenticated):
            holder(services, token)
    assert _statements() == before + 1
