"""Invariant 4 against whoever writes the database: a changed row gives an error, never another user's key.

`created_at` is the one column outside the property: nothing is decided by it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from event_loop import complete, enter
from kms_endpoint import KmsEndpoint
from kms_service.bootstrap import Services
from kms_service.errors import IntegrityFailure, KmsKeyUnusable
from kms_service.store.postgres.tables import wallets
from wiring import TESTER, FreshDatabase, running_services, settings_for

pytestmark = [pytest.mark.invariant(4), pytest.mark.invariant(13)]

AUTHENTIC = ("user_id", "wallet_address", "compressed_public_key", "wallet_mac", "wallet_mac_key_id")
COLUMNS = (*AUTHENTIC, "encrypted_seed", "encrypted_dek", "kms_key_id", "kms_region")
USERS = ("alice", "bob@example.org", "Carol.3")
REFUSED = (IntegrityFailure, KmsKeyUnusable)

Row = dict[str, Any]


@dataclass(frozen=True)
class Custody:
    """Three wallets under keys of the pool, and their true private keys."""

    services: Services
    rows: tuple[Row, ...]
    keys: dict[str, bytes]

    def rewrite(self, rows: Sequence[Row]) -> None:
        """Make the table hold exactly these rows, as somebody who may write it can."""
        with enter(self.services.database.engine.begin()) as connection:
            complete(connection.execute(wallets.delete()))
            complete(connection.execute(wallets.insert(), list(rows)))

    def read(self, user_id: str) -> bytes:
        """The private key that the service gives for this user."""
        return complete(self.services.wallets.get_private_key_for_user(TESTER, user_id)).private_key.reveal()

    def assert_tells_nothing(self, user_id: str) -> None:
        """No look-up, list or idempotent creation gives the address in this user's row."""
        with pytest.raises(IntegrityFailure):
            complete(self.services.wallets.get_wallet(user_id))
        with pytest.raises(IntegrityFailure):
            complete(self.services.wallets.ensure_wallet(TESTER, user_id))
        page = complete(self.services.wallets.list_wallets(limit=10, after=None, kms_key_id=None))
        assert user_id in page.refused
        assert user_id not in {wallet.user_id for wallet in page.wallets}


@pytest.fixture(scope="module")
def custody(fresh_database: FreshDatabase) -> Iterator[Custody]:
    with fresh_database() as url, KmsEndpoint() as endpoint:
        endpoint.add_pool("Empressa-wallet-key", 10)
        with running_services(settings_for(url, endpoint)) as services:
            yield _fill(services)


def _fill(services: Services) -> Custody:
    for user in USERS:
        complete(services.wallets.create_wallet(TESTER, user))
    with enter(services.database.connection()) as connection:
        rows = [dict(row) for row in complete(connection.execute(wallets.select())).mappings()]
    keys = {
        user: complete(services.wallets.get_private_key_for_user(TESTER, user)).private_key.reveal()
        for user in USERS
    }
    return Custody(services, tuple(rows), keys)


def _with_flipped_bit(value: bytes | str | UUID, position: int) -> bytes | str | UUID | None:
    """The value with one bit changed; None where PostgreSQL could not hold the text."""
    if isinstance(value, UUID):
        return UUID(int=value.int ^ 1 << position % 128)
    data = bytearray(value if isinstance(value, bytes) else value.encode())
    data[position // 8 % len(data)] ^= 1 << position % 8
    if isinstance(value, bytes):
        return bytes(data)
    return data.decode() if data.isascii() and 0 not in data else None


@pytest.mark.parametrize("column", COLUMNS)
@settings(max_examples=60, deadline=None)
@given(which=st.integers(0, len(USERS) - 1), position=st.integers(0, 8 * 4096 - 1))
def test_any_flipped_bit_is_refused(custody: Custody, column: str, which: int, position: int) -> None:
    changed = dict(custody.rows[which])
    flipped = _with_flipped_bit(changed[column], position)
    if flipped is None:
        return
    changed[column] = flipped
    custody.rewrite([changed, *(row for row in custody.rows if row is not custody.rows[which])])
    with pytest.raises(REFUSED):
        custody.read(changed["user_id"])
    if column in AUTHENTIC:
        custody.assert_tells_nothing(changed["user_id"])


@settings(max_examples=150, deadline=None)
@given(
    pair=st.permutations(range(len(USERS))).map(lambda order: order[:2]),
    columns=st.sets(st.sampled_from(COLUMNS), min_size=1),
)
def test_swapped_columns_never_give_another_users_key(
    custody: Custody, pair: list[int], columns: set[str]
) -> None:
    one, other = (dict(custody.rows[index]) for index in pair)
    for column in columns:
        one[column], other[column] = other[column], one[column]
    custody.rewrite([one, other, *(row for index, row in enumerate(custody.rows) if index not in pair)])
    for row in (one, other):
        if not _is_whole(row, custody.rows, AUTHENTIC):
            custody.assert_tells_nothing(row["user_id"])
        if _is_whole(row, custody.rows, COLUMNS):
            assert custody.read(row["user_id"]) == custody.keys[row["user_id"]]
        else:
            with pytest.raises(REFUSED):
                custody.read(row["user_id"])


def _is_whole(row: Row, originals: tuple[Row, ...], columns: tuple[str, ...]) -> bool:
    return any(all(row[column] == original[column] for column in columns) for original in originals)


def _sibling_key(custody: Custody, row: Row) -> str:
    return next(str(key.key_arn) for key in custody.services.pool.keys if key.key_arn != row["kms_key_id"])


@pytest.mark.parametrize(
    "key_id",
    [
        pytest.param(_sibling_key, id="another key of the pool"),
        pytest.param(lambda custody, _: custody.services.pool.keys[0].alias, id="an alias"),
        pytest.param(lambda _, row: row["kms_key_id"].rpartition("/")[2], id="a bare key id"),
        pytest.param(lambda _, row: row["kms_key_id"].replace("eu-central-1", "eu-west-1"), id="a Region"),
        pytest.param(lambda _, row: row["kms_key_id"].replace("1111", "4444"), id="another account"),
        pytest.param(lambda _, row: row["kms_key_id"] + " ", id="a trailing space"),
    ],
)
def test_another_key_id_is_refused(custody: Custody, key_id: Callable[[Custody, Row], str]) -> None:
    changed = custody.rows[0] | {"kms_key_id": key_id(custody, custody.rows[0])}
    custody.rewrite([changed, *custody.rows[1:]])
    with pytest.raises(REFUSED):
        custody.read(changed["user_id"])


def test_the_original_rows_open_again(custody: Custody) -> None:
    custody.rewrite(custody.rows)
    assert {user: custody.read(user) for user in USERS} == custody.keys
