"""Tokens over time: rotated with an overlap, expired and revoked within seconds, last use noted."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from calling import Service, serving
from event_loop import complete
from kms_service.access.scopes import Scope
from kms_service.errors import TokenNotFound
from planting import change_token, now
from wiring import TESTER


def _token(service: Service, name: str, expires_in: timedelta | None = None) -> str:
    made = complete(
        service.services.tokens.create(
            TESTER,
            name,
            [Scope.WALLETS_READ],
            expires_in=expires_in,
            private_key_reads_per_minute=None,
            signatures_per_minute=None,
            policy=None,
        )
    )
    return made.secret


def _status(service: Service, token: str) -> int:
    return service.call("GET", "/wallets", token=token).status_code


def _ends(service: Service, token: str) -> bool:
    """Whether a request with the token is refused two seconds from now."""
    service.clock.pass_by(2)
    return _status(service, token) == 401


def test_both_secrets_are_good_for_the_overlap(own_service: Service) -> None:
    old = _token(own_service, "app")
    made = complete(
        own_service.services.tokens.rotate(TESTER, "app", overlap=timedelta(hours=1), expires_in=None)
    )
    assert made.secret != old
    assert (_status(own_service, old), _status(own_service, made.secret)) == (200, 200)
    change_token(own_service.operator, "app", previous_expires_at=now)
    assert _ends(own_service, old)
    assert _status(own_service, made.secret) == 200


def test_rotating_again_ends_the_oldest(own_service: Service) -> None:
    secrets = [_token(own_service, "app")]
    for _ in range(2):
        made = complete(
            own_service.services.tokens.rotate(TESTER, "app", overlap=timedelta(hours=1), expires_in=None)
        )
        secrets.append(made.secret)
    assert [_status(own_service, secret) for secret in secrets] == [401, 200, 200]


def test_rotation_never_lengthens_the_life_of_the_old_secret(own_service: Service) -> None:
    old = _token(own_service, "app", expires_in=timedelta(minutes=5))
    made = complete(
        own_service.services.tokens.rotate(
            TESTER, "app", overlap=timedelta(days=7), expires_in=timedelta(days=90)
        )
    )
    assert made.row.previous_expires_at is not None
    assert made.row.expires_at is not None
    assert made.row.previous_expires_at - made.row.created_at <= timedelta(minutes=5)
    assert made.row.expires_at - made.row.created_at > timedelta(days=89)
    assert _status(own_service, old) == 200


def test_revoking_ends_both_secrets(own_service: Service) -> None:
    old = _token(own_service, "app")
    new = complete(
        own_service.services.tokens.rotate(TESTER, "app", overlap=timedelta(hours=1), expires_in=None)
    ).secret
    complete(own_service.services.tokens.revoke(TESTER, "app"))
    assert _ends(own_service, old)
    assert _ends(own_service, new)


@pytest.mark.parametrize("end", ["revoked", "expired", "missing"])
def test_only_a_valid_token_is_rotated(own_service: Service, end: str) -> None:
    if end != "missing":
        _token(own_service, "app")
        change_token(own_service.operator, "app", **{"revoked_at" if end == "revoked" else "expires_at": now})
    with pytest.raises(TokenNotFound):
        complete(
            own_service.services.tokens.rotate(TESTER, "app", overlap=timedelta(hours=1), expires_in=None)
        )


def test_expiry_and_revocation_act_on_every_replica_within_seconds(own_service: Service) -> None:
    ends: dict[str, Callable[[], object]] = {
        "expiring": lambda: change_token(own_service.operator, "expiring", expires_at=now),
        "revoked": lambda: complete(own_service.services.tokens.revoke(TESTER, "revoked")),
    }
    with serving(own_service.services.settings, own_service.kms) as other:
        for name, act in ends.items():
            token = _token(own_service, name)
            assert (_status(own_service, token), _status(other, token)) == (200, 200)
            act()
            assert _ends(own_service, token)
            assert _ends(other, token)


def test_last_use_is_noted(own_service: Service) -> None:
    used = _token(own_service, "used")
    _token(own_service, "unused")
    for _ in range(3):
        _status(own_service, used)
    complete(own_service.services.authenticator.note_last_use())
    last_use = {row.name: row.last_used_at for row in complete(own_service.services.tokens.list_all())}
    assert last_use["unused"] is None
    assert last_use["used"] is not None


def test_changes_are_on_record(own_service: Service) -> None:
    _token(own_service, "app")
    complete(own_service.services.tokens.rotate(TESTER, "app", overlap=timedelta(hours=1), expires_in=None))
    complete(own_service.services.tokens.revoke(TESTER, "app"))
    events = own_service.call("GET", "/audit/events", params={"limit": 3}).json()["events"]
    assert [event["action"] for event in events] == ["token.revoke", "token.rotate", "token.create"]
