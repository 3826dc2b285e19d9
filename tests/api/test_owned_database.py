"""The database in the hands of somebody without the KMS keys: each attack, run on a live service.

They can destroy and delay. What they write of a token grants nothing, and what they write of the seal opens
nothing.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import count
from typing import Any

import psycopg
import pytest

from calling import ALL, Service, serving
from event_loop import complete
from kms_endpoint import Error
from kms_service.access import tokens
from kms_service.access.scopes import Scope
from kms_service.bootstrap import Services, build
from kms_service.errors import AuditUnavailable, TokenIntegrityFailure
from kms_service.service.access import authenticate
from kms_service.service.audit.walk import Tampering
from planting import change_token, now
from wiring import TESTER, invented_token, running_services, with_role

_numbers = count(1)
POLICY = b'{"rules": [{"id": "a", "action": "private_key.read", "wallets": {"userIds": ["nobody"]}}]}'
ROW = "token_sha256, scopes, policy, revoked_at, expires_at, version, mac, mac_key_id"
GRANTED = {"all": "{" + ",".join(ALL) + "}"}


@pytest.fixture(autouse=True)
def _forget_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every request look up its token."""
    monkeypatch.setattr(authenticate, "REMEMBERED_SECONDS", 0.0)


@contextmanager
def _owner(service: Service) -> Iterator[psycopg.Connection[Any]]:
    """A session with every right there is, and no trigger in its way."""
    url = service.services.settings.database_url.get_secret_value()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        yield connection


def _as_owner(service: Service, statement: str, **parameters: Any) -> None:
    with _owner(service) as connection:
        assert connection.execute(statement.encode(), parameters).rowcount > 0


def _token(service: Service, *scopes: Scope, **options: Any) -> tuple[str, str]:
    """The name of a new token, and the token."""
    nothing = {"expires_in": None, "private_key_reads_per_minute": None, "signatures_per_minute": None}
    name = f"victim-{next(_numbers)}"
    settings = {**nothing, "policy": None, **options}
    return name, complete(service.services.tokens.create(TESTER, name, scopes, **settings)).secret


def _metric(service: Service, name: str) -> float:
    lines = service.client.get("/metrics").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name}_total "))


def _is_refused(service: Service, token: str) -> None:
    """The token is refused wherever it is shown, and each process has counted that."""
    before = _metric(service, "kms_service_token_integrity_failures")
    for path in ("/wallets", "/wallets/alice/private-key"):
        answer = service.call("GET", path, token=token)
        assert (answer.status_code, answer.json()["code"]) == (401, "not_authenticated")
    assert _metric(service, "kms_service_token_integrity_failures") > before


@pytest.mark.parametrize(
    "change",
    [
        "scopes = %(all)s::varchar[]",
        "scopes = scopes || 'wallets:sign'::varchar",
        "private_key_reads_per_minute = NULL",
        "private_key_reads_per_minute = 1000000",
        "signatures_per_minute = NULL",
        "policy = NULL",
        "expires_at = NULL",
        "expires_at = expires_at + interval '1 year'",
        "previous_token_sha256 = sha256('mine'), previous_expires_at = now() + interval '1 year'",
        "name = name || '-renamed'",
        "created_at = now() - interval '1 year'",
        "version = version + 1",
        "mac = NULL",
        "mac = sha256(mac)",
        "mac_key_id = gen_random_uuid()",
        "mac = (SELECT mac FROM tokens WHERE name = %(other)s), scopes = %(all)s::varchar[]",
        "mac = NULL, mac_key_id = NULL, version = NULL, scopes = %(all)s::varchar[]",
    ],
)
def test_a_row_that_was_changed_grants_nothing(service: Service, change: str) -> None:
    """Scopes widened, limits raised, the policy dropped, the expiry undone, another row's MAC copied."""
    policy = f"policy-{next(_numbers)}"
    complete(service.services.policies.set(TESTER, policy, POLICY))
    name, token = _token(
        service,
        Scope.WALLETS_READ,
        expires_in=timedelta(hours=1),
        private_key_reads_per_minute=1,
        signatures_per_minute=1,
        policy=policy,
    )
    other, _ = _token(service, *ALL)
    statement = f"UPDATE tokens SET {change} WHERE name = %(name)s"  # noqa: S608 # from above
    _as_owner(service, statement, name=name, other=other, **GRANTED)
    _is_refused(service, token)


@pytest.mark.parametrize("copied", ["NULL, NULL", "mac, mac_key_id"])
def test_a_token_that_was_inserted_grants_nothing(service: Service, copied: str) -> None:
    """As the owner would make one: without a MAC, or with that of a token with every scope."""
    mine = invented_token()
    name, _ = _token(service, *ALL)
    _as_owner(
        service,
        f"INSERT INTO tokens (name, token_sha256, scopes, version, mac, mac_key_id) "  # noqa: S608 # from above
        f"SELECT 'mallory-' || name, %(digest)s, scopes, version, {copied} FROM tokens WHERE name = %(name)s",
        digest=tokens.digest(mine),
        name=name,
    )
    _is_refused(service, mine)


@pytest.mark.parametrize("column", ["token_sha256", "previous_token_sha256"])
def test_nobody_gets_into_the_row_of_another(service: Service, column: str) -> None:
    mine = invented_token()
    name, _ = _token(service, *ALL)
    overlap = "previous_expires_at = now() + interval '1 day'"
    statement = f"UPDATE tokens SET {column} = %(digest)s, {overlap} WHERE name = %(name)s"  # noqa: S608
    _as_owner(service, statement, digest=tokens.digest(mine), name=name)
    _is_refused(service, mine)


def _revoke(service: Service, name: str) -> None:
    complete(service.services.tokens.revoke(TESTER, name))


def _expire(service: Service, name: str) -> None:
    change_token(service.operator, name, expires_at=now)


def _bind(service: Service, name: str) -> None:
    policy = f"policy-{next(_numbers)}"
    complete(service.services.policies.set(TESTER, policy, POLICY))
    complete(service.services.tokens.set_policy(TESTER, name, policy))


Ending = Callable[[Service, str], None]


@pytest.mark.parametrize("end", [_revoke, _expire])
def test_an_end_is_not_undone_by_taking_it_out_of_the_row(service: Service, end: Ending) -> None:
    name, token = _token(service, *ALL)
    end(service, name)
    _as_owner(
        service, "UPDATE tokens SET revoked_at = NULL, expires_at = NULL WHERE name = %(name)s", name=name
    )
    _is_refused(service, token)


@pytest.mark.parametrize("change", [_revoke, _expire, _bind])
def test_the_row_from_before_a_change_does_not_come_back(service: Service, change: Ending) -> None:
    """With its right MAC: whoever kept a copy, or has a backup, puts it back. The log tells of the change."""
    name, token = _token(service, *ALL)
    with _owner(service) as connection:
        connection.execute(f"CREATE TABLE kept AS SELECT * FROM tokens WHERE name = '{name}'".encode())  # noqa: S608
        change(service, name)
        connection.execute("DELETE FROM tokens WHERE name = %s", (name,))
        connection.execute("INSERT INTO tokens SELECT * FROM kept")
        connection.execute("DROP TABLE kept")
    _is_refused(service, token)
    with serving(service.services.settings, service.kms, service.token) as restarted:
        _is_refused(restarted, token)


def test_a_running_process_refuses_the_old_row_without_the_log(own_service: Service) -> None:
    """The audit rows are gone too: a process that saw the revocation keeps to it; verify finds the gap."""
    name, token = _token(own_service, *ALL)
    with _owner(own_service) as connection:
        connection.execute(f"CREATE TABLE kept AS SELECT * FROM tokens WHERE name = '{name}'".encode())  # noqa: S608
        _revoke(own_service, name)
        _token(own_service)
        assert own_service.call("GET", "/wallets", token=token).status_code == 401
        connection.execute("DELETE FROM tokens WHERE name = %s", (name,))
        connection.execute("INSERT INTO tokens SELECT * FROM kept")
        connection.execute("DELETE FROM audit_events WHERE action = 'token.revoke'")
    _is_refused(own_service, token)
    with running_services(own_service.services.settings) as auditor:
        findings = complete(auditor.verifier.verify(None, {}, lambda _: None)).findings
    assert [finding.kind for finding in findings] == [Tampering.REMOVED]


def test_no_command_makes_a_changed_row_right(service: Service) -> None:
    name, token = _token(service, Scope.WALLETS_READ)
    statement = "UPDATE tokens SET scopes = %(all)s::varchar[] WHERE name = %(name)s"
    _as_owner(service, statement, name=name, **GRANTED)
    with pytest.raises(TokenIntegrityFailure):
        complete(service.services.tokens.rotate(TESTER, name, overlap=timedelta(hours=1), expires_in=None))
    with pytest.raises(TokenIntegrityFailure):
        complete(service.services.tokens.set_policy(TESTER, name, None))
    complete(service.services.tokens.revoke(TESTER, name))
    assert service.call("GET", "/wallets", token=token).status_code == 401


def test_a_deleted_name_starts_at_the_version_after_the_last_in_the_log(service: Service) -> None:
    """Otherwise the new token of that name would look like a row that was put back."""
    name, _ = _token(service, *ALL)
    _revoke(service, name)
    _as_owner(service, "DELETE FROM tokens WHERE name = %(name)s", name=name)
    options = {"expires_in": None, "private_key_reads_per_minute": None, "signatures_per_minute": None}
    made = complete(
        service.services.tokens.create(TESTER, name, [Scope.WALLETS_READ], **options, policy=None)
    )
    assert made.row.version == 3
    assert service.call("GET", "/wallets", token=made.secret).status_code == 200


@contextmanager
def _without_kms(service: Service) -> Iterator[Services]:
    """An operator's command that has unwrapped no key, and gets none."""
    operator = build(with_role(service.services.settings, "kms_operate"))
    denied = Error("AccessDeniedException")
    with service.kms.on("Decrypt").answer(denied), service.kms.on("Encrypt").answer(denied):
        yield operator
        complete(operator.close())


def test_a_token_is_revoked_without_kms_too(own_service: Service) -> None:
    """Its row has no MAC from then on, so that nobody brings it to life again."""
    name, token = _token(own_service, Scope.WALLETS_READ)
    with _without_kms(own_service) as operator, pytest.raises(AuditUnavailable):
        complete(operator.tokens.revoke(TESTER, name))
    assert own_service.call("GET", "/wallets", token=token).status_code == 401
    _as_owner(own_service, "UPDATE tokens SET revoked_at = NULL WHERE name = %(name)s", name=name)
    _is_refused(own_service, token)


def _seal(service: Service) -> None:
    assert service.call("POST", "/seal", json={"reason": "a drill"}).status_code == 200


def _look(service: Service) -> str:
    """What a release is answered, once the service has looked at the seal twice."""
    for _ in range(2):
        complete(service.services.shared_state.poll())
    answer = service.call("GET", "/wallets/alice/private-key")
    return "released" if answer.status_code == 200 else str(answer.json()["code"])


@pytest.fixture
def sealed_service(own_service: Service) -> Service:
    """A service that was sealed, unsealed and sealed again, with a wallet to release."""
    own_service.create("alice")
    _seal(own_service)
    own_service.unseal()
    assert _look(own_service) == "released"
    _seal(own_service)
    assert _look(own_service) == "sealed"
    return own_service


OPENED = "SELECT %s, reason, actor, at, %s, mac, mac_key_id FROM seal_changes WHERE number = 2"
INTO = "INSERT INTO seal_changes (sealed, reason, actor, at, number, mac, mac_key_id)"
AGAIN = (
    "CREATE TABLE kept AS SELECT * FROM seal_changes WHERE number = 2;"  # noqa: S608 # constants
    "DELETE FROM seal_changes WHERE number = 2;"
    f"{INTO} SELECT sealed, reason, actor, at, number, mac, mac_key_id FROM kept"
)


@pytest.mark.parametrize(
    "attack",
    [
        "INSERT INTO seal_changes (sealed, actor) VALUES (false, 'mallory')",
        "INSERT INTO seal_changes (sealed, actor, number) VALUES (false, 'mallory', 4)",
        f"{INTO} {OPENED % (False, 4)}",
        f"{INTO} {OPENED % (False, 'NULL')}",
        AGAIN,
        "UPDATE seal_changes SET sealed = false WHERE number = 3",
        "UPDATE seal_changes SET number = 4 WHERE number = 2; DELETE FROM seal_changes WHERE number = 3",
        "DELETE FROM seal_changes WHERE number = 3",
        "DELETE FROM seal_changes WHERE number <> 2",
        "DELETE FROM seal_changes",
    ],
    ids=[
        "inserted",
        "inserted with a number",
        "the MAC of the unsealing under a new number",
        "the MAC of the unsealing without a number",
        "the unsealing again",
        "turned round",
        "renumbered",
        "the newest deleted",
        "all others deleted",
        "all deleted",
    ],
)
def test_no_planted_row_unseals(sealed_service: Service, attack: str) -> None:
    """Neither a process that knows of the sealing, nor one that is started after the attack."""
    before = _metric(sealed_service, "kms_service_seal_integrity_failures")
    with _owner(sealed_service) as connection:
        connection.execute(attack.encode())
    assert _look(sealed_service) == "sealed"
    assert sealed_service.call("GET", "/seal").json()["sealed"] is True
    assert _metric(sealed_service, "kms_service_seal_integrity_failures") > before
    with serving(sealed_service.services.settings, sealed_service.kms, sealed_service.token) as restarted:
        assert _look(restarted) == "sealed"
        sealed_service.unseal()
        assert _look(sealed_service) == _look(restarted) == "released"


def test_a_running_process_needs_no_log_to_stay_sealed(sealed_service: Service) -> None:
    with _owner(sealed_service) as connection:
        connection.execute("DELETE FROM seal_changes WHERE number = 3")
        connection.execute("DELETE FROM audit_events WHERE action = 'seal.close'")
    assert _look(sealed_service) == "sealed"


def test_a_row_that_nobody_could_have_made_seals_the_service(own_service: Service) -> None:
    """Sealing is what the owner may: to destroy and to delay."""
    own_service.create("alice")
    own_service.unseal()
    assert _look(own_service) == "released"
    with _owner(own_service) as connection:
        connection.execute("UPDATE seal_changes SET mac = NULL")
    assert _look(own_service) == "sealed"
    own_service.unseal()
    assert _look(own_service) == "released"


def test_the_service_can_be_sealed_without_kms(own_service: Service) -> None:
    """A change without a MAC seals too, and is as hard to take away."""
    own_service.create("alice")
    own_service.unseal()
    with _without_kms(own_service) as operator, pytest.raises(AuditUnavailable):
        complete(operator.seal.seal(TESTER, "KMS is away"))
    assert _look(own_service) == "sealed"
    with _owner(own_service) as connection:
        connection.execute("DELETE FROM seal_changes WHERE number = 2")
    assert _look(own_service) == "sealed"
    own_service.unseal()
    own_service.unseal()
    assert _look(own_service) == "released"


def test_a_sealed_process_without_its_keys_stays_sealed(sealed_service: Service) -> None:
    sealed_service.unseal()
    with sealed_service.kms.on("Decrypt").answer(Error("AccessDeniedException")):
        starting = build(with_role(sealed_service.services.settings, "kms_serve"))
        assert complete(starting.shared_state.recent(0.0)).sealed
        complete(starting.close())
