"""Whatever the database's owner does to the audit log, `audit verify` names the first row of it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from event_loop import complete
from kms_endpoint import Error, KmsEndpoint
from kms_service.bootstrap import Services
from kms_service.errors import AuditUnavailable, KmsUnavailable
from kms_service.service.audit.chains import Head
from kms_service.service.audit.log import Event
from kms_service.service.audit.verify import AuditReport
from kms_service.service.audit.walk import PAGE_ROWS, Tampering
from kms_service.settings import Settings
from wiring import TESTER, FreshDatabase, Original, running_services, settings_for

ROWS = 8
Owner = psycopg.Connection[Any]


@contextmanager
def owning(database_url: str) -> Iterator[Owner]:
    """The database as its owner has it, who may switch its triggers off."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("ALTER TABLE audit_chains DISABLE TRIGGER USER")
        connection.execute("ALTER TABLE audit_events DISABLE TRIGGER USER")
        connection.execute("ALTER TABLE audit_events DROP CONSTRAINT IF EXISTS ck_audit_events_numbers")
        yield connection


@pytest.fixture(scope="module")
def empty_log(fresh_database: FreshDatabase) -> Iterator[str]:
    """A database in which rows can be copied within the log."""
    with fresh_database() as url:
        with psycopg.connect(url, autocommit=True) as owner:
            owner.execute("ALTER TABLE audit_events ALTER id DROP IDENTITY; CREATE SEQUENCE ids START 10000")
            owner.execute("ALTER TABLE audit_events ALTER id SET DEFAULT nextval('ids')")
            owner.execute("ALTER SEQUENCE ids OWNER TO kms_migrate")
        yield url


@pytest.fixture(scope="module")
def first_log(empty_log: str, fresh_database: FreshDatabase) -> Iterator[Original]:
    """A log of one closed chain, made once: its opening row, six events, its closing row; and its KMS."""
    with fresh_database(empty_log) as url, KmsEndpoint() as endpoint:
        endpoint.add_pool("Empressa-wallet-key", 10)
        with running_services(settings_for(url, endpoint)) as services:
            for number in range(ROWS - 2):
                event = Event("test.event", user_id=f"user-{number}", detail="what was written")
                complete(services.audit.record(TESTER, event))
        yield Original(url, endpoint.account)


@pytest.fixture
def log() -> None:
    """Has the test begin with a copy of the first log."""


@pytest.fixture
def original(request: pytest.FixtureRequest, empty_log: str, first_log: Original) -> Original:
    """Each test's own database has a copy of the first log if the test asked for that, else none."""
    return first_log if "log" in request.fixturenames else replace(first_log, database_url=empty_log)


def _verify(services: Services, **kwargs: Any) -> AuditReport:
    return complete(services.verifier.verify(kwargs.get("since"), kwargs.get("heads", {}), lambda _: None))


@pytest.mark.usefixtures("log")
def test_an_untouched_log_is_intact(services: Services) -> None:
    report = _verify(services)
    assert (report.intact, report.chains, report.rows, report.unclosed) == (True, 1, ROWS, 0)


def _swap(owner: Owner, one: int, other: int) -> None:
    for seq, to in ((one, -1), (other, one), (-1, other)):
        owner.execute("UPDATE audit_events SET seq = %s WHERE seq = %s", (to, seq))


def _insert(owner: Owner, seq: int) -> None:
    owner.execute("UPDATE audit_events SET seq = -seq - 1 WHERE seq >= %s", (seq,))
    owner.execute("UPDATE audit_events SET seq = -seq WHERE seq < 0")
    _copy(owner, seq, of=1 if seq > 1 else 2)


def _copy(owner: Owner, seq: int, of: int) -> None:
    owner.execute(
        "INSERT INTO audit_events (seq, chain_id, at, actor, action, outcome, user_id, detail, mac) "
        "SELECT %s, chain_id, at, actor, action, outcome, user_id, detail, mac FROM audit_events "
        "WHERE seq = %s",
        (seq, of),
    )


def _do(statement: str) -> Callable[[Owner], object]:
    return lambda owner: owner.execute(statement)


TAMPERING: dict[str, tuple[Callable[[Owner], object], Tampering, int]] = {
    "update a user": (
        _do("UPDATE audit_events SET user_id = 'mallory' WHERE seq = 4"), Tampering.CHANGED, 4),
    "update an actor": (_do("UPDATE audit_events SET actor = 'mallory' WHERE seq = 2"), Tampering.CHANGED, 2),
    "update an outcome": (_do("UPDATE audit_events SET outcome = 'ko' WHERE seq = 5"), Tampering.CHANGED, 5),
    "update a time": (
        _do("UPDATE audit_events SET at = at + '1 microsecond' WHERE seq = 5"), Tampering.CHANGED, 5),
    "null for empty": (_do("UPDATE audit_events SET request_id = '' WHERE seq = 5"), Tampering.CHANGED, 5),
    "update a mac": (_do("UPDATE audit_events SET mac = sha256(mac) WHERE seq = 5"), Tampering.CHANGED, 5),
    "update the opening row": (
        _do("UPDATE audit_events SET detail = '' WHERE seq = 1"), Tampering.CHANGED, 1),
    "update the last row": (
        _do("UPDATE audit_events SET actor = 'x' WHERE seq = 8"), Tampering.CHANGED_OR_INSERTED, 8),
    "delete the first": (_do("DELETE FROM audit_events WHERE seq = 1"), Tampering.REMOVED, 1),
    "delete one": (_do("DELETE FROM audit_events WHERE seq = 4"), Tampering.REMOVED, 4),
    "delete several": (_do("DELETE FROM audit_events WHERE seq IN (3, 4, 6)"), Tampering.REMOVED, 3),
    "insert in the middle": (lambda owner: _insert(owner, 4), Tampering.INSERTED, 4),
    "insert at the beginning": (lambda owner: _insert(owner, 1), Tampering.INSERTED, 1),
    "insert behind the end": (lambda owner: _copy(owner, 9, of=4), Tampering.INSERTED, 9),
    "swap neighbours": (lambda owner: _swap(owner, 4, 5), Tampering.REORDERED, 4),
    "swap others": (lambda owner: _swap(owner, 3, 6), Tampering.REORDERED, 3),
    "move one behind the end": (
        _do("UPDATE audit_events SET seq = 99 WHERE seq = 4"), Tampering.REORDERED, 4),
    "swap ids": (
        _do("UPDATE audit_events SET id = 1000000 - id WHERE seq IN (4, 5)"), Tampering.REORDERED, 5),
    "truncate": (_do("TRUNCATE audit_events"), Tampering.REMOVED, 1),
}  # fmt: skip


@pytest.mark.parametrize("case", TAMPERING)
@pytest.mark.usefixtures("log")
def test_the_first_row_is_named(services: Services, database_url: str, case: str) -> None:
    tamper, fault, seq = TAMPERING[case]
    with owning(database_url) as owner:
        tamper(owner)
    findings = _verify(services).findings
    assert [(finding.kind, finding.number, finding.seq) for finding in findings] == [(fault, 1, seq)]
    assert findings[0].says.startswith(f"row {seq} of chain 1 ")


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE audit_chains SET process = 'elsewhere:1'",
        "UPDATE audit_chains SET opened_at = opened_at - interval '1 day'",
        "UPDATE audit_chains SET wrapped_mac_key = wrapped_mac_key || '\\x00'::bytea",
        "UPDATE audit_chains SET kms_region = 'us-east-1'",
    ],
)
@pytest.mark.usefixtures("log")
def test_a_changed_chain_is_named(services: Services, database_url: str, change: str) -> None:
    with owning(database_url) as owner:
        owner.execute(change)
    assert [finding.kind for finding in _verify(services).findings] == [Tampering.CHAIN_CHANGED]


def test_a_row_cannot_move_to_another_chain(
    settings: Settings, services: Services, database_url: str
) -> None:
    for _ in range(2):
        with running_services(settings) as another:
            complete(another.audit.record(TESTER, Event("test.event")))
    with owning(database_url) as owner:
        chains = [row[0] for row in owner.execute("SELECT chain_id FROM audit_chains ORDER BY number")]
        owner.execute("DELETE FROM audit_events WHERE chain_id = %s AND seq = 2", (chains[1],))
        owner.execute("UPDATE audit_events SET chain_id = %s WHERE chain_id = %s AND seq = 2", chains[::-1])
    found = [(finding.kind, finding.number, finding.seq) for finding in _verify(services).findings]
    assert found == [(Tampering.REMOVED, 1, 2), (Tampering.CHANGED, 2, 2)]


def test_a_chain_that_vanished_whole_is_named(
    settings: Settings, services: Services, database_url: str
) -> None:
    for _ in range(3):
        with running_services(settings) as another:
            complete(another.audit.record(TESTER, Event("test.event")))
    with owning(database_url) as owner:
        owner.execute(
            "DELETE FROM audit_events USING audit_chains c WHERE c.chain_id = audit_events.chain_id "
            "AND c.number = 2"
        )
        owner.execute("DELETE FROM audit_chains WHERE number = 2")
    found = [(finding.kind, finding.number) for finding in _verify(services).findings]
    assert found == [(Tampering.CHAIN_REMOVED, 2)]


@pytest.mark.usefixtures("log")
def test_rows_whose_chain_vanished_are_named(services: Services, database_url: str) -> None:
    with owning(database_url) as owner:
        owner.execute("DELETE FROM audit_chains")
    findings = _verify(services).findings
    assert [finding.kind for finding in findings] == [Tampering.CHAIN_REMOVED] * 2
    assert findings[1].audit_chain_id is not None, "whose rows lie there still"


@pytest.mark.usefixtures("log")
def test_a_chain_under_a_number_that_nobody_looks_at_is_walked(services: Services, database_url: str) -> None:
    with owning(database_url) as owner:
        owner.execute("ALTER TABLE audit_chains DROP CONSTRAINT IF EXISTS ck_audit_chains_numbers")
        owner.execute("UPDATE audit_chains SET number = -1")
    faults = [finding.kind for finding in _verify(services).findings]
    assert faults == [Tampering.CHAIN_REMOVED, Tampering.CHAIN_CHANGED]


@pytest.mark.usefixtures("log")
def test_a_gap_of_a_trillion_numbers_is_one_finding(services: Services, database_url: str) -> None:
    with owning(database_url) as owner:
        owner.execute("UPDATE audit_chain_numbers SET last = 1000000000000")
        (finding,) = _verify(services).findings
        assert "chains 2 to 1000000000000 were removed" in finding.says
        owner.execute(
            "INSERT INTO audit_chains SELECT gen_random_uuid(), opened_at, process, wrapped_mac_key, "
            "kms_key_id, kms_region, 1000000000000 FROM audit_chains"
        )
    faults = [finding.kind for finding in _verify(services).findings]
    assert faults == [Tampering.CHAIN_REMOVED, Tampering.REMOVED]


@pytest.mark.usefixtures("log")
def test_findings_are_counted_and_the_first_thousand_kept(services: Services, database_url: str) -> None:
    with owning(database_url) as owner:
        owner.execute(
            "INSERT INTO audit_chains SELECT gen_random_uuid(), opened_at, process, wrapped_mac_key, "
            "kms_key_id, kms_region, number + 1 + step FROM audit_chains, generate_series(1, 1005) AS step"
        )
    report = _verify(services)
    assert (report.found, len(report.findings), report.intact) == (1006, 1000, False)


def test_an_empty_log_beside_tokens_is_named(services: Services, database_url: str) -> None:
    assert _verify(services).intact
    complete(
        services.tokens.create(
            TESTER,
            "caller",
            [],
            expires_in=None,
            private_key_reads_per_minute=None,
            signatures_per_minute=None,
            policy=None,
        )
    )
    assert _verify(services).intact
    with owning(database_url) as owner:
        owner.execute("TRUNCATE audit_events, audit_chains")
    assert [finding.kind for finding in _verify(services).findings] == [Tampering.CHAIN_REMOVED]


def _heads(database_url: str, seq: int) -> dict[Any, Head]:
    with psycopg.connect(database_url) as connection:
        rows = connection.execute("SELECT chain_id, seq, mac FROM audit_events WHERE seq = %s", (seq,))
        return {chain_id: Head(place, mac) for chain_id, place, mac in rows}


@pytest.mark.usefixtures("log")
def test_a_cut_off_end_shows_against_the_log_stream(services: Services, database_url: str) -> None:
    heads = _heads(database_url, 7)
    assert _verify(services, heads=heads).intact
    with owning(database_url) as owner:
        owner.execute("DELETE FROM audit_events WHERE seq > 5")
    unaided = _verify(services)
    assert (unaided.intact, unaided.unclosed) == (True, 1)
    found = [(finding.kind, finding.seq) for finding in _verify(services, heads=heads).findings]
    assert found == [(Tampering.CUT_OFF, 6)]


@pytest.mark.usefixtures("log")
def test_a_last_chain_that_vanished_shows_against_the_log_stream(
    services: Services, database_url: str
) -> None:
    heads = _heads(database_url, 7)
    with owning(database_url) as owner:
        owner.execute("TRUNCATE audit_events, audit_chains")
        owner.execute("UPDATE audit_chain_numbers SET last = 0")
    assert _verify(services).intact, "as if nothing had ever been written"
    assert [finding.kind for finding in _verify(services, heads=heads).findings] == [Tampering.CHAIN_REMOVED]


@pytest.mark.usefixtures("log")
def test_a_head_that_the_table_does_not_bear_out_is_named(services: Services, database_url: str) -> None:
    heads = {chain_id: Head(head.seq, bytes(32)) for chain_id, head in _heads(database_url, 6).items()}
    found = [(finding.kind, finding.seq) for finding in _verify(services, heads=heads).findings]
    assert found == [(Tampering.CHANGED, 6)]


@pytest.mark.usefixtures("log")
def test_since_checks_only_newer_rows(services: Services, database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        (since,) = connection.execute("SELECT at FROM audit_events WHERE seq = 6").fetchone() or ()
    with owning(database_url) as owner:
        owner.execute("UPDATE audit_events SET actor = 'mallory' WHERE seq = 3")
        assert _verify(services, since=since).intact
        owner.execute("UPDATE audit_events SET actor = 'mallory', at = at - interval '1 day' WHERE seq = 7")
    found = [(finding.kind, finding.seq) for finding in _verify(services, since=since).findings]
    assert found == [(Tampering.CHANGED, 7)]


@pytest.mark.usefixtures("log")
def test_a_row_that_pretends_to_be_old_does_not_hide_from_since(
    services: Services, database_url: str
) -> None:
    with psycopg.connect(database_url) as connection:
        (since,) = connection.execute("SELECT at FROM audit_events WHERE seq = 6").fetchone() or ()
    with owning(database_url) as owner:
        owner.execute("UPDATE audit_events SET actor = 'x', at = at - interval '1 day' WHERE seq >= 7")
    assert [finding.seq for finding in _verify(services, since=since).findings] == [8]


def test_a_chain_longer_than_a_page_is_checked_whole(services: Services, database_url: str) -> None:
    for _ in range(PAGE_ROWS + 5):
        complete(services.audit.record(TESTER, Event("test.event")))
    assert _verify(services).intact
    with owning(database_url) as owner:
        owner.execute("DELETE FROM audit_events WHERE seq = %s", (PAGE_ROWS,))
    assert [finding.seq for finding in _verify(services).findings] == [PAGE_ROWS]


@pytest.mark.usefixtures("log")
def test_a_chain_under_a_lost_key_counts_as_a_finding(services: Services, kms_endpoint: KmsEndpoint) -> None:
    with kms_endpoint.on("Decrypt").answer(Error("DisabledException")):
        findings = _verify(services).findings
    assert [finding.kind for finding in findings] == [Tampering.CHAIN_UNCHECKED]


@pytest.mark.usefixtures("log")
def test_with_kms_out_of_reach_there_is_no_verdict(services: Services, kms_endpoint: KmsEndpoint) -> None:
    with kms_endpoint.on("Decrypt").answer(Error("KMSInternalException")), pytest.raises(KmsUnavailable):
        _verify(services)


def test_a_chain_that_ends_with_an_unknown_outcome_is_not_tampering(
    services: Services, database_url: str
) -> None:
    complete(services.audit.record(TESTER, Event("test.event")))
    with owning(database_url) as owner:
        owner.execute("ALTER TABLE audit_events RENAME TO elsewhere")
        with pytest.raises(AuditUnavailable):
            complete(services.audit.record(TESTER, Event("test.event")))
        owner.execute("ALTER TABLE elsewhere RENAME TO audit_events")
    complete(services.audit.record(TESTER, Event("test.event")))
    report = _verify(services)
    assert (report.intact, report.chains, report.unclosed) == (True, 2, 2)


@pytest.mark.usefixtures("log")
def test_nobody_but_the_owner_can_change_the_log(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        for statement in (
            "UPDATE audit_events SET actor = 'x'",
            "DELETE FROM audit_events",
            "TRUNCATE audit_events",
            "UPDATE audit_chains SET process = 'x'",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
                connection.execute(statement)
