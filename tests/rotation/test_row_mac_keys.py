"""The keys of row MACs: several KMS keys wrap each, rotations renew them, and rubbish rows stop nobody."""

import secrets
import uuid
from collections.abc import Callable
from contextlib import closing

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege

from event_loop import complete
from fleet import Fleet
from kms_service.bootstrap import Services
from kms_service.kms.pool import KeyMode
from kms_service.service.row_macs import CONTEXT, WRAPPED_BY
from kms_service.store.row_mac_keys import MOST_ROWS
from kms_service.store.wallets.walk import Chosen
from wiring import TESTER, as_role, running_services

Worker = Callable[[], Services]


def _wrapping_keys(fleet: Fleet, number: int = 1) -> list[str]:
    rows = fleet.query("SELECT kms_key_id FROM row_mac_keys WHERE number = %s ORDER BY wrapping", number)
    return [str(row[0]) for row in rows]


def _drain(fleet: Fleet, key_arn: str) -> str:
    (name,) = [key.name for key in fleet.services.pool.keys if key.key_arn == key_arn]
    complete(fleet.services.pool_service.set_mode(TESTER, name, KeyMode.DRAINING))
    return name


def _age(fleet: Fleet) -> None:
    with closing(psycopg.connect(fleet.database_url, autocommit=True)) as connection:
        connection.execute("ALTER TABLE row_mac_keys DISABLE TRIGGER USER")
        connection.execute("UPDATE row_mac_keys SET wrapped_at = wrapped_at - interval '1 hour'")
        connection.execute("ALTER TABLE row_mac_keys ENABLE TRIGGER USER")


def _rotate_away(fleet: Fleet, worker: Worker, key_arn: str) -> None:
    name = _drain(fleet, key_arn)
    worker()
    fleet.wait_for_end(fleet.start(sources=[name]))


@pytest.mark.invariant(13)
def test_addresses_are_served_while_all_but_one_of_the_wrapping_keys_are_away(fleet: Fleet) -> None:
    wrapped_by = _wrapping_keys(fleet)
    assert len(set(wrapped_by)) == len(wrapped_by) == WRAPPED_BY
    for key_arn in wrapped_by[1:]:
        fleet.kms.key(key_arn).state = "Disabled"
    with running_services(fleet.services.settings) as fresh:
        assert complete(fresh.wallets.get_wallet("user-007")).wallet_address == fleet.addresses["user-007"]


def test_a_key_that_leaves_the_pool_is_replaced(fleet: Fleet) -> None:
    before = _wrapping_keys(fleet)
    _drain(fleet, before[0])
    complete(fleet.services.row_macs.tend())
    after = _wrapping_keys(fleet)
    assert (after[: len(before)], len(set(after))) == (before, WRAPPED_BY + 1)
    complete(fleet.services.row_macs.tend())
    assert _wrapping_keys(fleet) == after


def test_a_rotation_starts_a_new_key_that_every_process_knows_before_it_is_used(
    fleet: Fleet, worker: Worker
) -> None:
    services = fleet.services
    (first,) = complete(services.row_macs.keyring()).key_ids
    with running_services(services.settings) as other:
        _rotate_away(fleet, worker, _wrapping_keys(fleet)[0])
        complete(services.row_macs.tend())
        complete(services.row_macs.tend())
        complete(other.row_macs.tend())
        for each in (services, other):
            ring = complete(each.row_macs.keyring())
            assert (ring.making_key_id, len(ring.key_ids)) == (first, 2)
        _age(fleet)
        complete(other.row_macs.tend())
        assert complete(other.row_macs.keyring()).making_key_id != first
        made = complete(other.wallets.create_wallet(TESTER, "late"))
        # This one has not looked since, and it still makes MACs under the old key.
        assert complete(services.wallets.get_wallet("late")).wallet_address == made.wallet_address
    assert len(_wrapping_keys(fleet, 2)) == WRAPPED_BY
    complete(services.row_macs.tend())
    assert fleet.query("SELECT max(number) FROM row_mac_keys") == [(2,)]


def test_a_verification_moves_the_macs_to_the_newest_key(fleet: Fleet, worker: Worker) -> None:
    _rotate_away(fleet, worker, _wrapping_keys(fleet)[0])
    complete(fleet.services.row_macs.tend())
    _age(fleet)
    with running_services(fleet.services.settings) as fresh:
        newest = complete(fresh.row_macs.keyring()).making_key_id
        for moved in (len(fleet.addresses), 0):
            run = complete(
                fresh.wallet_verifier.verify(
                    TESTER,
                    Chosen(None, None, 1.0),
                    after="",
                    at_once=8,
                    rate_per_second=None,
                    authenticate=True,
                    report=lambda *_: None,
                )
            )
            assert (run.failed, run.authenticated) == (0, moved)
        assert complete(fresh.wallets.get_wallet("user-007")).wallet_address == fleet.addresses["user-007"]
    assert fleet.query("SELECT DISTINCT wallet_mac_key_id FROM wallets") == [(newest,)]


_INSERT = (
    "INSERT INTO row_mac_keys (number, wrapping, key_id, wrapped_key, kms_key_id, kms_region) "
    "VALUES (%s, %s, %s, %s, %s, %s)"
)


@pytest.mark.invariant(13)
def test_rubbish_written_with_a_stolen_serving_login_stops_nobody(fleet: Fleet) -> None:
    (row,) = fleet.query(
        "SELECT key_id, wrapped_key, kms_key_id, kms_region FROM row_mac_keys WHERE wrapping = 1"
    )
    other = fleet.kms.key(row[2]).wrap(secrets.token_bytes(32), CONTEXT)
    with psycopg.connect(as_role(fleet.database_url, "kms_serve"), autocommit=True) as connection:
        # 1. Keys that KMS cannot unwrap, and the largest number.
        connection.execute(_INSERT, (2, 1, uuid.uuid4(), b"rubbish", row[2], row[3]))
        connection.execute(_INSERT, (2**31 - 1, 1, uuid.uuid4(), b"", row[2], row[3]))
        # 2. Another key in the place of this one, as its last wrapping.
        connection.execute(_INSERT, (1, 2**31 - 1, row[0], other, row[2], row[3]))
        # 3. Its copy under another number.
        connection.execute(_INSERT, (3, 1, *row))
        # 4. More than a process reads.
        for wrapping in range(100, 100 + MOST_ROWS):
            connection.execute(_INSERT, (4, wrapping, uuid.uuid4(), b"", row[2], row[3]))
        # 5. One that claims to be old, and so the one to make MACs.
        with pytest.raises(InsufficientPrivilege):
            connection.execute("INSERT INTO row_mac_keys (number, wrapped_at) VALUES (5, '2020-01-01')")
    complete(fleet.services.row_macs.tend())
    _assert_tells_all(fleet, fleet.services)
    with running_services(fleet.services.settings) as fresh:
        assert fresh.row_macs.loaded
        _assert_tells_all(fleet, fresh)
    _drain(fleet, row[2])
    complete(fleet.services.row_macs.tend())
    assert len({*_wrapping_keys(fleet)}) == WRAPPED_BY + 1


def _assert_tells_all(fleet: Fleet, services: Services) -> None:
    assert complete(services.row_macs.keyring()).key_ids == {
        uuid.UUID(str(fleet.query("SELECT key_id FROM row_mac_keys WHERE wrapping = 1 AND number = 1")[0][0]))
    }
    for name in ("user-001", "user-007"):
        assert complete(services.wallets.get_wallet(name)).wallet_address == fleet.addresses[name]
