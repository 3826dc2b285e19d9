"""The database login of a serving process in somebody else's hands: each attack, run as it would be."""

import uuid
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.errors import CheckViolation, InsufficientPrivilege

from event_loop import complete
from kms_service.bootstrap import Services
from kms_service.errors import IntegrityFailure, MayNotUnseal, WalletNotFound
from kms_service.service.audit.walk import Tampering
from kms_service.settings import Settings
from wiring import ROLES, TESTER, as_role, running_services, with_role

LARGEST = (1 << 63) - 1
DURING_UPGRADE = ROLES.with_name("roles-during-upgrade.sql")
_CHAIN = (
    "INSERT INTO audit_chains (chain_id, number, process, wrapped_mac_key, kms_key_id, kms_region) "
    "VALUES (%s, %s, 'evil:1', 'x', 'arn', 'eu')"
)
_EVENT = (
    "INSERT INTO audit_events (chain_id, seq, at, actor, action, outcome, mac) "
    "VALUES (%s, %s, now(), 'mallory', 'x', 'ok', sha256('x'))"
)
_APPEND = (
    "SELECT append_audit_event(%(key)s, %(chain)s::uuid, %(seq)s::bigint, %(at)s::timestamptz, 'mallory', "
    "'x', 'ok', NULL, NULL, NULL, NULL, NULL, NULL, sha256('x'))"
)
_OPEN = (
    "SELECT open_audit_chain(%(key)s, %(number)s::bigint, now(), 'evil:1', 'x', 'eu', %(chain)s::uuid, "
    "1::bigint, now(), 'mallory', 'audit.open', 'ok', NULL, NULL, NULL, 'arn', NULL, NULL, sha256('x'))"
)
_WALLET = (
    "SELECT * FROM record_wallet(%(key)s, %(chain)s::uuid, 2::bigint, now(), 'mallory', 'wallet.create', "
    "'ok', 'planted', '0x0', NULL, 'arn', NULL, NULL, sha256('x'), NULL, 'x', 'x', 'eu', NULL, NULL, NULL)"
)

_PLAIN_WALLET = (
    "INSERT INTO wallets (user_id, wallet_address, encrypted_seed, encrypted_dek, kms_key_id, kms_region) "
    "VALUES ('planted', '0x0', 'x', 'x', 'arn', 'eu')"
)
_UNSEAL_EVENT = (
    "'', gen_random_uuid(), 1::bigint, now(), 'x', 'seal.open', 'ok', NULL, NULL, NULL, NULL, NULL, NULL, "
    "sha256('x')"
)
_UNSEAL = f"SELECT record_unsealing({_UNSEAL_EVENT})"
_OPEN_SEAL = f"SELECT open_seal({_UNSEAL_EVENT}, 2::bigint, NULL, NULL)"


@pytest.fixture
def serving(settings: Settings) -> Iterator[Services]:
    """A process that serves under its own role, with a wallet and so a live chain."""
    with running_services(with_role(settings, "kms_serve")) as services:
        complete(services.wallets.create_wallet(TESTER, "alice"))
        yield services


@pytest.fixture
def thief(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    """Whoever has the serving process's login."""
    with psycopg.connect(as_role(database_url, "kms_serve"), autocommit=True) as connection:
        yield connection


@pytest.fixture
def owner(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    """The database's owner, who may insert what nobody else may."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


def _live_chain(connection: psycopg.Connection[Any]) -> tuple[uuid.UUID, int]:
    """The newest chain, and the place after its last row."""
    found = connection.execute(
        "SELECT chain_id, max(seq) + 1 FROM audit_events GROUP BY chain_id ORDER BY max(id) DESC LIMIT 1"
    ).fetchone()
    assert found is not None
    return found[0], found[1]


@pytest.mark.parametrize(
    "statement",
    [
        _CHAIN % ("gen_random_uuid()", LARGEST),
        _EVENT % ("gen_random_uuid()", 1),
        _PLAIN_WALLET,
        "INSERT INTO seal_changes (sealed, actor) VALUES (false, 'mallory')",
        "UPDATE audit_chain_numbers SET last = 9223372036854775806",
        "SELECT setval(pg_get_serial_sequence('audit_events', 'id'), 9223372036854775807)",
        _UNSEAL,
        _OPEN_SEAL,
        "SELECT revoke_token('app')",
        "SELECT record_sealing('mine', 'mallory')",
    ],
)
def test_nothing_is_inserted_past_the_functions(thief: psycopg.Connection[Any], statement: str) -> None:
    with pytest.raises(InsufficientPrivilege):
        thief.execute(statement.encode())


@pytest.mark.parametrize("number", [LARGEST, 1 << 40, 3, 0, -1])
def test_a_number_is_given_out_in_turn_only(
    serving: Services, thief: psycopg.Connection[Any], number: int
) -> None:
    chain = {"key": b"k" * 32, "chain": uuid.uuid4(), "number": number}
    assert thief.execute(_OPEN, chain).fetchone() == (None,)
    assert thief.execute("SELECT count(*) FROM audit_chains").fetchone() == (1,)
    complete(serving.wallets.create_wallet(TESTER, "bob"))


def test_a_live_chain_takes_rows_of_its_writer_only(
    serving: Services, thief: psycopg.Connection[Any]
) -> None:
    chain, place = _live_chain(thief)
    for key in (b"", b"k" * 32, None):
        with pytest.raises(InsufficientPrivilege, match="another writer"):
            thief.execute(_APPEND, {"key": key, "chain": chain, "seq": place, "at": "now"})
    complete(serving.wallets.get_private_key_for_user(TESTER, "alice"))
    assert complete(serving.verifier.verify(None, {}, lambda _: None)).intact


@pytest.mark.parametrize("at", ["-infinity", "infinity", "0001-01-01 BC", "0001-01-01", "294000-01-01"])
def test_a_row_that_nobody_could_read_again_is_refused(thief: psycopg.Connection[Any], at: str) -> None:
    chain = {"key": b"k" * 32, "chain": uuid.uuid4(), "number": 1}
    assert thief.execute(_OPEN, chain).fetchone() != (None,)
    with pytest.raises(CheckViolation):
        thief.execute(_APPEND, {**chain, "seq": 2, "at": at})
    with pytest.raises(CheckViolation, match="follows no row"):
        thief.execute(_APPEND, {**chain, "seq": LARGEST, "at": "now"})


def test_a_chain_of_the_thief_is_reported_and_stops_nobody(
    serving: Services, thief: psycopg.Connection[Any]
) -> None:
    chain = {"key": b"k" * 32, "chain": uuid.uuid4(), "number": 2, "seq": 2, "at": "now"}
    assert thief.execute(_OPEN, chain).fetchone() != (None,)
    assert thief.execute(_APPEND, chain).fetchone() != (None,)
    with running_services(serving.settings) as another:
        complete(another.wallets.create_wallet(TESTER, "bob"))
        findings = complete(another.verifier.verify(None, {}, lambda _: None)).findings
    assert [(finding.number, finding.kind) for finding in findings] == [(2, Tampering.CHAIN_CHANGED)]


def test_a_planted_wallet_has_a_row_of_the_log(serving: Services, thief: psycopg.Connection[Any]) -> None:
    chain = {"key": b"k" * 32, "chain": uuid.uuid4(), "number": 2}
    with pytest.raises(InsufficientPrivilege):
        thief.execute(_WALLET, chain)
    with pytest.raises(WalletNotFound):
        complete(serving.wallets.get_wallet("planted"))
    thief.execute(_OPEN, chain)
    thief.execute(_WALLET, chain)
    rows = thief.execute("SELECT actor FROM audit_events WHERE user_id = 'planted'").fetchall()
    assert rows == [("mallory",)]


def test_the_login_seals_and_does_not_unseal(serving: Services, thief: psycopg.Connection[Any]) -> None:
    thief.execute("SELECT close_seal(1, 'mine', 'mallory', NULL, NULL)")
    assert thief.execute("SELECT sealed FROM seal_changes").fetchall() == [(True,)]
    complete(serving.seal.seal(TESTER, "a drill"))
    with pytest.raises(MayNotUnseal):
        complete(serving.seal.unseal(TESTER))
    assert thief.execute("SELECT sealed FROM seal_changes ORDER BY id DESC LIMIT 1").fetchone() == (True,)
    assert thief.execute(
        "SELECT outcome FROM audit_events WHERE action = 'seal.open'"
    ).fetchall() == [("not_authorized",)]  # fmt: skip


def test_nothing_is_unsealed_without_its_row(settings: Settings, database_url: str) -> None:
    with running_services(with_role(settings, "kms_operate")) as operator:
        complete(operator.seal.seal(TESTER, "a drill"))
        with psycopg.connect(as_role(database_url, "kms_operate"), autocommit=True) as login:
            insert = "INSERT INTO seal_changes (sealed, actor) VALUES (false, 'mallory')"
            for statement in (insert, _UNSEAL, _OPEN_SEAL):
                with pytest.raises(InsufficientPrivilege):
                    login.execute(statement.encode())
        complete(operator.seal.unseal(TESTER))
        state = complete(operator.seal.state())
    assert state is not None
    assert not state.sealed


def test_a_foreign_row_in_a_live_chain_stops_no_request(
    serving: Services, owner: psycopg.Connection[Any]
) -> None:
    """As the owner, or a login of the version before, could plant it."""
    owner.execute(_EVENT, _live_chain(owner))
    complete(serving.wallets.get_private_key_for_user(TESTER, "alice"))
    owner.execute(_EVENT, _live_chain(owner))
    complete(serving.wallets.create_wallet(TESTER, "bob"))
    faults = [f.kind for f in complete(serving.verifier.verify(None, {}, lambda _: None)).findings]
    assert faults == [Tampering.CHANGED_OR_INSERTED] * 2


@pytest.mark.parametrize("number", [LARGEST, 1 << 53, 1_000_001, 0, -1])
def test_the_numbers_of_seal_changes_cannot_be_used_up(thief: psycopg.Connection[Any], number: int) -> None:
    with pytest.raises(CheckViolation, match="out of reach"):
        thief.execute("SELECT close_seal(%s::bigint, 'mine', 'mallory', NULL, NULL)", (number,))


@pytest.mark.parametrize("number", [LARGEST, 1 << 49, 999_999])
def test_a_made_up_sealing_in_the_log_keeps_no_operator_from_unsealing(
    settings: Settings, thief: psycopg.Connection[Any], number: int
) -> None:
    with running_services(with_role(settings, "kms_operate")) as operator:
        complete(operator.seal.seal(TESTER, "a drill"))
        _append(thief, "seal.close", f"{number}: mine")
        complete(operator.seal.unseal(TESTER))
        state = complete(operator.seal.state())
    assert state is not None
    assert not state.sealed


@pytest.mark.parametrize("action", ["token.revoke", "token.create", "policy.set"])
def test_the_login_cannot_log_a_change_that_only_operators_make(
    thief: psycopg.Connection[Any], action: str
) -> None:
    """What the log tells of a token or a policy decides whether its row is the newest."""
    with pytest.raises(InsufficientPrivilege, match="this login"):
        _append(thief, action, "app 99")


def _append(thief: psycopg.Connection[Any], action: str, detail: str) -> None:
    """Write to a chain of the thief's own."""
    last = thief.execute("SELECT coalesce(max(number), 0) FROM audit_chains").fetchone()
    chain = {"key": b"k" * 32, "chain": uuid.uuid4(), "number": (last or (0,))[0] + 1, "seq": 2, "at": "now"}
    assert thief.execute(_OPEN, chain).fetchone() != (None,)
    nothing = "NULL, NULL, NULL, NULL, NULL"
    told = _APPEND.replace(f"'x', 'ok', {nothing}, NULL", f"%(action)s, 'ok', {nothing}, %(detail)s")
    thief.execute(told.encode(), {**chain, "action": action, "detail": detail})


@pytest.mark.parametrize("number", [LARGEST, 1 << 53, 2, 3])
def test_an_impossible_chain_stops_nobody(
    serving: Services, owner: psycopg.Connection[Any], number: int
) -> None:
    owner.execute("ALTER TABLE audit_chains DROP CONSTRAINT ck_audit_chains_numbers")
    owner.execute(_CHAIN, (uuid.uuid4(), number))
    for user in ("bob", "carol"):
        with running_services(serving.settings) as another:
            complete(another.wallets.create_wallet(TESTER, user))
            findings = complete(another.verifier.verify(None, {}, lambda _: None)).findings
    assert 1 <= len(findings) <= 2


@pytest.mark.parametrize("at", ["infinity", "294000-01-01", "0044-03-15 BC"])
def test_an_unreadable_value_is_an_integrity_failure_of_its_row(
    serving: Services, owner: psycopg.Connection[Any], at: str
) -> None:
    complete(serving.wallets.create_wallet(TESTER, "bob"))
    owner.execute("ALTER TABLE wallets DROP CONSTRAINT ck_wallets_times")
    owner.execute("UPDATE wallets SET created_at = %s WHERE user_id = 'alice'", (at,))
    with pytest.raises(IntegrityFailure):
        complete(serving.wallets.get_wallet("alice"))
    assert complete(serving.wallets.get_wallet("bob")).user_id == "bob"


def test_the_previous_version_keeps_working_while_both_run(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as admin:
        admin.execute(DURING_UPGRADE.read_bytes())
        with psycopg.connect(as_role(database_url, "kms_serve"), autocommit=True) as before:
            before.execute(_CHAIN, (uuid.uuid4(), 1))
            before.execute("INSERT INTO seal_changes (sealed, actor) VALUES (false, 'operator')")
            admin.execute(ROLES.read_bytes())
            with pytest.raises(InsufficientPrivilege):
                before.execute(_CHAIN, (uuid.uuid4(), 2))
