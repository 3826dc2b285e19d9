"""Single keys that fail: new wallets move to another key at once, decrypts stay, and the pool recovers."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from statistics import median

import pytest

from clock import Clock
from event_loop import complete
from kms_endpoint import Error, Garbage, Hang, KmsEndpoint, OtherKeyId, Reset, Status
from kms_service import context
from kms_service.crypto import envelope
from kms_service.crypto.material import WrappedDek
from kms_service.errors import KmsKeyUnusable, KmsThrottled, KmsUnavailable, NoUsableKey
from kms_service.kms.aws import AwsKmsService, KeyRotation
from kms_service.kms.keys.circuit import CircuitState
from kms_service.kms.keys.health import KeyHealth
from kms_service.kms.pool import (
    WHOLE_POOL_SECONDS,
    DescribedKey,
    KeyMode,
    KeyStatus,
    KmsKeyInfo,
    KmsKeyPool,
    UnknownKey,
)
from kms_service.kms.regions.routes import connect_regions
from kms_service.local.kms.faults import Exchange
from kms_service.local.kms.protocol import Reply
from wiring import settings_for

CONTEXT = {"purpose": "wallet-dek", "wallet_address": "0x0"}
FIRST = "alias/Empressa-wallet-key-1"


@dataclass
class Pool:
    """A pool of three keys on a scripted endpoint, with the clock of its circuits."""

    kms: KmsEndpoint
    aws: AwsKmsService
    pool: KmsKeyPool
    clock: Clock

    def wrap(self, times: int = 1) -> list[WrappedDek]:
        return [complete(self.pool.wrap(envelope.new_data_key(), CONTEXT)).dek for _ in range(times)]

    def key(self, alias: str = FIRST) -> KmsKeyInfo:
        return next(key for key in self.pool.keys if key.alias == alias)

    def wrap_under(self, alias: str) -> WrappedDek:
        while True:
            (dek,) = self.wrap()
            if dek.key_arn == self.kms.key(alias).arn:
                return dek


@contextmanager
def _pool(size: int) -> Iterator[Pool]:
    clock = Clock()
    with KmsEndpoint() as kms:
        kms.add_pool("Empressa-wallet-key", size)
        settings = settings_for("postgresql://localhost/none", kms)
        health = KeyHealth(4, clock)
        aws = AwsKmsService(connect_regions(settings), health)
        try:
            pool = KmsKeyPool(aws, settings.aliases[:size], health, clock)
            complete(pool.refresh())
            yield Pool(kms, aws, pool, clock)
        finally:
            complete(aws.close())


@pytest.fixture
def three() -> Iterator[Pool]:
    with _pool(3) as pool:
        yield pool


def _until(condition: Callable[[], bool], act: Callable[[], object]) -> None:
    for _ in range(200):
        if condition():
            return
        act()
    raise AssertionError("it never came about")


def _circuit_opens(three: Pool) -> None:
    _until(lambda: three.key().circuit is CircuitState.OPEN, three.wrap)


def _disable(kms: KmsEndpoint) -> None:
    kms.key(FIRST).state = "Disabled"


def _schedule_deletion(kms: KmsEndpoint) -> None:
    kms.key(FIRST).state = "PendingDeletion"


def _deny(kms: KmsEndpoint) -> None:
    kms.deny(FIRST, "Encrypt", "Decrypt")


def _break(fault: Error | Status | Reset | Garbage | OtherKeyId) -> Callable[[KmsEndpoint], object]:
    return lambda kms: kms.on("Encrypt", "Decrypt", key=FIRST).answer(fault)


FAULTS: dict[str, tuple[Callable[[KmsEndpoint], object], int, KeyStatus]] = {
    # fault: how it comes about, failed calls until the circuit opens, the key's status then
    "disabled": (_disable, 1, KeyStatus.DISABLED),
    "pending deletion": (_schedule_deletion, 1, KeyStatus.UNAVAILABLE),
    "denied": (_deny, 1, KeyStatus.UNAVAILABLE),
    "gone": (_break(Error("NotFoundException")), 1, KeyStatus.UNAVAILABLE),
    "500": (_break(Status(500)), 5, KeyStatus.UNAVAILABLE),
    "reset": (_break(Reset()), 5, KeyStatus.UNAVAILABLE),
    "garbage": (_break(Garbage()), 5, KeyStatus.UNAVAILABLE),
    "a reply for another key": (_break(OtherKeyId("arn:other")), 5, KeyStatus.UNAVAILABLE),
}


@pytest.mark.invariant(6)
@pytest.mark.parametrize("name", FAULTS)
def test_a_key_that_fails_is_left_at_once_and_then_not_asked(three: Pool, name: str) -> None:
    come_about, calls, status = FAULTS[name]
    come_about(three.kms)
    _circuit_opens(three)
    assert three.kms.count("Encrypt", key=FIRST) == calls
    assert three.key().status is status
    three.wrap(30)
    assert three.kms.count("Encrypt", key=FIRST) == calls


@pytest.mark.invariant(6)
def test_throttling_moves_to_no_sibling_and_opens_nothing(three: Pool) -> None:
    three.kms.on("Encrypt").answer(Error("ThrottlingException"))
    for _ in range(3):
        with context.deadline(3.5), pytest.raises(KmsThrottled):
            three.wrap()
    asked = [each.key_id for each in three.kms.find_requests("Encrypt")]
    assert all(key.circuit is CircuitState.CLOSED and key.wraps for key in three.pool.keys)
    assert len(set(asked)) <= 3


def test_three_keys_are_tried_at_most_and_all_are_named() -> None:
    with _pool(5) as five:
        five.kms.on("Encrypt").answer(Status(500))
        with pytest.raises(NoUsableKey) as refusal:
            five.wrap()
        assert five.kms.count("Encrypt") == 3
        reasons = refusal.value.reasons
        assert len(reasons) == 5
        assert sorted(reasons.values()) == ["500", "500", "500", "not tried", "not tried"]


def test_a_pool_that_failed_as_a_whole_names_each_key_and_its_reason(three: Pool) -> None:
    for number, state in enumerate(("Disabled", "PendingDeletion", "Disabled"), 1):
        three.kms.key(f"alias/Empressa-wallet-key-{number}").state = state
    with pytest.raises(NoUsableKey):
        three.wrap()
    with pytest.raises(NoUsableKey) as refusal:
        three.wrap()
    assert refusal.value.reasons == {
        "alias/Empressa-wallet-key-1": "DisabledException",
        "alias/Empressa-wallet-key-2": "KMSInvalidStateException",
        "alias/Empressa-wallet-key-3": "DisabledException",
    }
    complete(three.pool.heal())
    assert three.pool.reasons["alias/Empressa-wallet-key-2"] == "PendingDeletion"


def test_a_request_tries_the_key_again_after_the_pause(three: Pool) -> None:
    _disable(three.kms)
    _circuit_opens(three)
    three.kms.key(FIRST).state = "Enabled"
    three.clock.pass_by(2.1)
    _until(lambda: three.key().wraps, three.wrap)
    assert three.kms.count("Encrypt", key=FIRST, outcome="ok") == 1


def test_an_idle_key_is_described_and_vouched_for(three: Pool) -> None:
    _disable(three.kms)
    _circuit_opens(three)
    complete(three.pool.heal())
    assert three.key().reason == "Disabled"
    three.kms.key(FIRST).state = "Enabled"
    three.clock.pass_by(10.1)
    complete(three.pool.heal())
    assert three.key().wraps


def test_a_refresh_takes_a_repaired_key_back_at_once(three: Pool) -> None:
    _disable(three.kms)
    _circuit_opens(three)
    three.kms.key(FIRST).state = "Enabled"
    complete(three.pool.refresh())
    assert three.key().wraps


def test_a_refresh_that_kms_throttles_changes_nothing(three: Pool) -> None:
    three.kms.on("DescribeKey").answer(Error("ThrottlingException"))
    complete(three.pool.refresh())
    assert three.pool.reasons == {}


def test_the_last_description_of_a_key_stays_with_the_time_since_when_kms_gives_none(three: Pool) -> None:
    told = three.key().told_at
    assert (told is not None, three.key().silent_since) == (True, None)
    with three.kms.on("DescribeKey", key=FIRST).answer(Reset()):
        complete(three.pool.refresh())
        since = three.key().silent_since
        complete(three.pool.refresh())
        assert (three.key().told_at, three.key().silent_since, three.key().wraps) == (told, since, True)
    complete(three.pool.heal())
    assert three.key().silent_since is not None, "asked again before its time"
    three.clock.pass_by(10.1)
    complete(three.pool.heal())
    assert three.key().silent_since is None
    assert three.key().told_at != told


def test_a_refusal_to_describe_a_key_counts_as_an_answer(three: Pool) -> None:
    told = three.key().told_at
    three.kms.on("DescribeKey", key=FIRST).answer(Error("AccessDeniedException"))
    complete(three.pool.refresh())
    key = three.key()
    assert isinstance(key, DescribedKey)
    assert (key.denied, key.usable, key.key_arn) == (True, False, three.kms.key(FIRST).arn)
    assert three.key().told_at != told
    assert three.key().silent_since is None


def test_a_key_that_was_missing_at_start_is_found_later(three: Pool) -> None:
    with KmsEndpoint() as kms:
        settings = settings_for("postgresql://localhost/none", kms)
        health = KeyHealth(4, three.clock)
        aws = AwsKmsService(connect_regions(settings), health)
        pool = KmsKeyPool(aws, (FIRST,), health, three.clock)
        complete(pool.refresh())
        assert pool.reasons == {FIRST: "NotFoundException"}
        (key,) = pool.keys
        assert isinstance(key, UnknownKey)
        assert (key.missing, key.denied, pool.described) == (True, False, ())
        kms.add_pool("Empressa-wallet-key", 1)
        three.clock.pass_by(10.1)
        complete(pool.heal())
        assert pool.reasons == {}
        assert [key.name for key in pool.wrapping] == ["Empressa-wallet-key-1"]
        complete(aws.close())


def test_an_alias_that_moved_is_noticed(three: Pool) -> None:
    before = three.key().key_arn
    three.kms.store.set_alias(FIRST, three.kms.store.create())
    complete(three.pool.refresh())
    complete(three.pool.refresh())
    assert (three.key().key_arn, three.key().moved_from) == (three.kms.key(FIRST).arn, before)


def test_the_rotation_of_a_key_is_known(three: Pool) -> None:
    key = three.kms.key(FIRST)
    key.rotation_period, key.rotation_enabled_at = 180, key.created
    three.kms.deny("alias/Empressa-wallet-key-2", "GetKeyRotationStatus")
    complete(three.pool.refresh())
    rotation = three.key().rotation
    assert rotation is not None
    assert (rotation.enabled, rotation.period_in_days) == (True, 180)
    assert rotation.next_at is not None
    assert three.key("alias/Empressa-wallet-key-2").rotation is None
    assert three.pool.reasons == {}


def test_a_key_that_cannot_rotate_serves_and_is_shown_as_such(three: Pool) -> None:
    """Imported material, custom key stores."""
    three.kms.on("GetKeyRotationStatus", key=FIRST).answer(Error("UnsupportedOperationException"))
    complete(three.pool.refresh())
    assert three.key().rotation == KeyRotation(False, None, None, supported=False)
    assert three.key().wraps


def test_a_key_whose_primary_region_is_being_changed_serves(three: Pool) -> None:
    three.kms.key(FIRST).state = "Updating"
    complete(three.pool.refresh())
    assert three.key().wraps
    three.wrap_under(FIRST)


@pytest.mark.parametrize("state", ["Creating", "PendingImport", "Unavailable", "PendingReplicaDeletion"])
def test_a_key_in_another_state_does_not_serve(three: Pool, state: str) -> None:
    three.kms.key(FIRST).state = state
    complete(three.pool.refresh())
    assert (three.key().status, three.key().reason) == (KeyStatus.UNAVAILABLE, state)


async def _of_another_region(exchange: Exchange) -> Reply:
    reply = exchange.perform()
    return replace(reply, body=reply.body.replace(b":eu-central-1:", b":us-east-1:"))


def test_a_key_of_another_region_is_refused_by_name_before_anything_is_wrapped() -> None:
    with KmsEndpoint() as kms, kms.on("DescribeKey").answer(_of_another_region):
        kms.add_pool("Empressa-wallet-key", 1)
        settings = settings_for("postgresql://localhost/none", kms, kms_key_pool_size=1)
        health = KeyHealth(4)
        aws = AwsKmsService(connect_regions(settings), health)
        pool = KmsKeyPool(aws, settings.aliases, health)
        complete(pool.refresh())
        assert pool.reasons == {FIRST: "is a key of us-east-1, not of eu-central-1"}
        with pytest.raises(NoUsableKey):
            complete(pool.wrap(envelope.new_data_key(), CONTEXT))
        assert kms.count("Encrypt") == 0
        complete(aws.close())


def test_a_wholly_disabled_pool_is_noticed_at_the_next_look() -> None:
    with _pool(10) as ten:
        for key in ten.pool.keys:
            ten.kms.key(key.alias).state = "Disabled"
        with pytest.raises(NoUsableKey):
            ten.wrap()
        assert ten.kms.count("Encrypt") == 3
        described = ten.kms.count("DescribeKey")
        complete(ten.pool.heal())
        assert [key.status for key in ten.pool.keys] == [KeyStatus.DISABLED] * 10
        assert ten.pool.wrapping == ()
        assert ten.kms.count("DescribeKey") == described + 10


def test_a_pool_is_described_as_a_whole_at_a_bounded_rate() -> None:
    with _pool(10) as ten:
        described = ten.kms.count("DescribeKey")
        with ten.kms.on("Encrypt").answer(Error("DisabledException")):
            for _ in range(3):
                with pytest.raises(NoUsableKey):
                    ten.wrap()
                complete(ten.pool.heal())
        # Once all ten, and then each key whose circuit has opened since.
        assert ten.kms.count("DescribeKey") <= described + 10 + 9
        # Later, when others fail, again.
        ten.clock.pass_by(WHOLE_POOL_SECONDS)
        with ten.kms.on("Encrypt").answer(Error("DisabledException")), suppress(NoUsableKey):
            ten.wrap()
        described = ten.kms.count("DescribeKey")
        complete(ten.pool.heal())
        assert ten.kms.count("DescribeKey") == described + 10


def test_when_one_key_fails_the_others_are_not_described_again(three: Pool) -> None:
    _disable(three.kms)
    _circuit_opens(three)
    described = three.kms.count("DescribeKey")
    complete(three.pool.heal())
    assert three.kms.count("DescribeKey") == described + 1


def test_a_key_is_found_by_its_alias_or_its_name(three: Pool) -> None:
    for name in (FIRST, "Empressa-wallet-key-1"):
        found = three.pool.find(name)
        assert found is not None
        assert found.alias == FIRST
    assert three.pool.find("Empressa-wallet-key") is None


def test_a_draining_key_wraps_nothing_and_still_opens(three: Pool) -> None:
    dek = three.wrap_under(FIRST)
    three.pool.set_draining(frozenset({FIRST}))
    assert three.key().mode is KeyMode.DRAINING
    asked = three.kms.count("Encrypt", key=FIRST)
    three.wrap(30)
    assert three.kms.count("Encrypt", key=FIRST) == asked
    complete(three.aws.decrypt(dek, CONTEXT))
    three.pool.set_draining(frozenset())
    _until(lambda: three.kms.count("Encrypt", key=FIRST) > asked, three.wrap)


def test_a_key_that_may_only_decrypt_goes_on_decrypting(three: Pool) -> None:
    dek = three.wrap_under(FIRST)
    three.kms.deny(FIRST, "Encrypt")
    _circuit_opens(three)
    complete(three.aws.decrypt(dek, CONTEXT))


def test_each_decrypt_under_a_disabled_key_is_answered_by_kms_itself(three: Pool) -> None:
    dek = three.wrap_under(FIRST)
    _disable(three.kms)
    for _ in range(3):
        with pytest.raises(KmsKeyUnusable):
            complete(three.aws.decrypt(dek, CONTEXT))
    three.kms.key(FIRST).state = "Enabled"
    complete(three.aws.decrypt(dek, CONTEXT))


def test_decrypts_of_a_hanging_key_hold_half_of_the_places_and_then_none(three: Pool) -> None:
    hanging, other = three.wrap_under(FIRST), three.wrap_under("alias/Empressa-wallet-key-2")

    def seconds(dek: WrappedDek) -> float:
        started = time.monotonic()
        try:
            complete(three.aws.decrypt(dek, CONTEXT))
        except KmsUnavailable:
            assert dek is hanging
        return time.monotonic() - started

    with three.kms.on("Decrypt", key=FIRST).answer(Hang()), ThreadPoolExecutor(8) as threads:
        # Four waited for the answer, four only until the first four looked stuck.
        assert len(list(threads.map(seconds, [hanging] * 8))) == 8
        assert three.kms.count("Decrypt", key=FIRST) == 4
        assert three.key().circuit is CircuitState.OPEN
        # Most of them, since a busy machine may hold up any one.
        assert median(threads.map(seconds, [hanging] * 20)) < 1.5
        assert median(threads.map(seconds, [other] * 20)) < 1.5
    three.clock.pass_by(2.1)
    seconds(hanging)
    assert three.key().circuit is CircuitState.CLOSED


def test_a_create_on_a_hanging_key_ends_on_another(three: Pool) -> None:
    with three.kms.on("Encrypt", key=FIRST).answer(Hang()), context.deadline(60):
        _circuit_opens(three)
        assert three.kms.count("Encrypt", key=FIRST) == 3
        three.wrap(10)
    assert three.kms.count("Encrypt", outcome="ok") >= 13
