"""Two KMS Regions and their faults: what the second one is asked, and what it is never asked."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TypeVar

import pytest

from kms_endpoint import Delay, Error, Fault, Garbage, Hang, KmsEndpoint, OtherKeyId, Reset, Status
from kms_service import context
from kms_service.crypto.material import DataKey, WrappedDek
from kms_service.errors import IntegrityFailure, KmsError, KmsKeyUnusable, KmsThrottled, KmsUnavailable
from kms_service.kms.aws import AwsKmsService
from kms_service.kms.data_plane.client import KmsClient
from kms_service.kms.data_plane.credentials import Credentials, fixed_walk
from kms_service.kms.data_plane.provider_chain import Loaded, NoCredentials
from kms_service.kms.data_plane.signer import AccessKeys
from kms_service.kms.errors import KmsCallNotMade
from kms_service.kms.keys.circuit import CircuitState
from kms_service.kms.keys.health import KeyHealth
from kms_service.kms.regions.hedge import ENOUGH, Hedge
from kms_service.kms.regions.region import Region
from kms_service.kms.regions.routes import RegionRole, Regions, RegionState
from kms_service.kms.regions.watch import RegionWatch
from waiting import wait_until_async

T = TypeVar("T")
HOME, FALLBACK = "eu-central-1", "eu-west-1"
CONTEXT = {"purpose": "wallet-dek", "wallet_address": "0x0"}
DEK = bytes(range(200, 232))
KEYS = fixed_walk(AccessKeys("test", "test", None))
Act = Callable[[AwsKmsService], Awaitable[T]]


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Pair:
    """Two Regions with the replicas of two keys, a third key in the first one alone, and a client of both."""

    home: KmsEndpoint
    fallback: KmsEndpoint
    arn: str
    other: str
    alone: str
    clock: Clock = field(default_factory=Clock)
    when_throttled: bool = False
    hedge: Hedge | None = None
    walk: Callable[[], Loaded] = KEYS

    def run(self, act: Act[T]) -> T:
        async def scenario() -> T:
            home = KmsClient(self.home.url, HOME, Credentials(self.walk))
            second = KmsClient(self.fallback.url, FALLBACK, Credentials(KEYS))
            regions = Regions(
                Region(home, self.clock),
                Region(second, self.clock),
                when_throttled=self.when_throttled,
                hedge=self.hedge,
            )
            aws = AwsKmsService(regions, KeyHealth(64))
            try:
                return await act(aws)
            finally:
                await aws.close()

        return asyncio.run(scenario())

    def wrap(self, arn: str) -> WrappedDek:
        async def act(aws: AwsKmsService) -> WrappedDek:
            return (await aws.encrypt(arn, DataKey(DEK), CONTEXT)).dek

        return self.run(act)

    def open(self, dek: WrappedDek) -> str:
        """The ARN that it was opened under."""

        async def act(aws: AwsKmsService) -> str:
            unwrapped = await aws.decrypt(dek, CONTEXT)
            assert unwrapped.dek.reveal() == DEK
            return unwrapped.key_arn

        return self.run(act)


def there(arn: str) -> str:
    return arn.replace(HOME, FALLBACK)


@pytest.fixture
def pair() -> Iterator[Pair]:
    with KmsEndpoint(region=HOME) as home, KmsEndpoint(region=FALLBACK, account=home.account) as fallback:
        arn, other = home.add_pool("Empressa-wallet-key", 2, multi_region=True)
        home.replicate_to(fallback)
        yield Pair(home, fallback, arn, other, home.store.create("alone").arn)


ABSENT: list[Fault] = [
    Status(500),
    Status(503),
    Error("KMSInternalException"),
    Error("DependencyTimeoutException"),
    Error("KeyUnavailableException"),
    Reset(),
    Hang(),
]


@pytest.mark.parametrize("fault", ABSENT, ids=repr)
def test_a_call_that_one_region_does_not_answer_is_answered_by_the_other(pair: Pair, fault: Fault) -> None:
    dek = pair.wrap(pair.arn)
    with pair.home.on().answer(fault):
        assert pair.open(dek) == there(pair.arn)
        made = pair.wrap(pair.arn)
    assert (made.key_arn, made.region) == (there(pair.arn), FALLBACK)
    assert pair.open(made) == pair.arn
    assert pair.fallback.count("Decrypt", outcome="ok") == 1


def test_a_refused_connection_fails_over(pair: Pair) -> None:
    dek = pair.wrap(pair.arn)
    with pair.home.refusing_connections():
        assert pair.open(dek) == there(pair.arn)
        made = pair.wrap(pair.other)
    assert pair.open(made) == pair.other


def test_with_both_regions_away_the_error_is_that_of_the_first_and_holds_no_secret(pair: Pair) -> None:
    dek = pair.wrap(pair.arn)
    with pair.home.on().answer(Status(500)), pair.fallback.refusing_connections():
        with pytest.raises(KmsUnavailable):
            pair.open(dek)
        with pytest.raises(KmsUnavailable):
            pair.wrap(pair.arn)


REFUSALS = [
    "AccessDeniedException",
    "DisabledException",
    "KMSInvalidStateException",
    "NotFoundException",
    "InvalidCiphertextException",
    "IncorrectKeyException",
    "InvalidSignatureException",
    "UnrecognizedClientException",
    "ValidationException",
    "ThrottlingException",
    "429",
]


@pytest.mark.parametrize("code", REFUSALS)
def test_a_refusal_is_never_retried_elsewhere(pair: Pair, code: str) -> None:
    dek = pair.wrap(pair.arn)
    fault: Fault = Status(429) if code == "429" else Error(code)
    with pair.home.on().answer(fault):
        with context.deadline(4), pytest.raises((KmsError, IntegrityFailure)):
            pair.open(dek)
        with context.deadline(4), pytest.raises(KmsError):
            pair.wrap(pair.arn)
    assert pair.fallback.requests == []


def test_a_garbled_answer_is_not_retried_elsewhere(pair: Pair) -> None:
    dek = pair.wrap(pair.arn)
    with pair.home.on().answer(Garbage()), pytest.raises(KmsUnavailable):
        pair.open(dek)
    assert pair.fallback.requests == []


def test_throttling_fails_over_only_where_the_setting_says_so(pair: Pair) -> None:
    dek = pair.wrap(pair.arn)
    with pair.home.on().answer(Error("ThrottlingException")):
        with context.deadline(4), pytest.raises(KmsThrottled):
            pair.open(dek)
        pair.when_throttled = True
        assert pair.open(dek) == there(pair.arn)


def test_without_credentials_in_one_region_those_of_the_other_are_used(pair: Pair) -> None:
    dek = pair.wrap(pair.arn)

    def walk() -> Loaded:
        raise NoCredentials("ConnectTimeoutError")

    pair.walk = walk
    assert pair.open(dek) == there(pair.arn)


def test_a_key_of_one_region_stays_in_it(pair: Pair) -> None:
    dek = pair.wrap(pair.alone)
    with pair.home.on().answer(Status(500)):
        with pytest.raises(KmsUnavailable):
            pair.open(dek)
        with pytest.raises(KmsUnavailable):
            pair.wrap(pair.alone)
    assert pair.fallback.requests == []


def test_a_key_that_only_the_second_region_has_is_used_there(pair: Pair) -> None:
    arn = pair.fallback.store.create("theirs").arn
    blob = pair.fallback.key(arn).wrap(DEK, CONTEXT)
    assert pair.open(WrappedDek(arn, FALLBACK, blob)) == arn
    assert pair.home.requests == []


@pytest.mark.invariant(4)
def test_a_reply_may_name_the_same_key_of_the_region_asked_and_no_other(pair: Pair) -> None:
    dek = pair.wrap(pair.arn)
    lies = [pair.arn, there(pair.other), there(pair.arn).replace("111122223333", "999922223333")]
    lies += [there(pair.arn).replace("arn:aws:", "arn:aws-cn:"), there(pair.arn).replace("mrk-", "mrk-0")]
    with pair.home.on().answer(Status(500)):
        for lie in lies:
            with pair.fallback.on("Decrypt", "Encrypt").answer(OtherKeyId(lie)):
                with pytest.raises(IntegrityFailure):
                    pair.open(dek)
                with pytest.raises(KmsUnavailable):
                    pair.wrap(pair.arn)
    with pair.home.on("Decrypt").answer(OtherKeyId(there(pair.arn))), pytest.raises(IntegrityFailure):
        pair.open(dek)


def test_a_dek_is_moved_by_the_region_that_answers(pair: Pair) -> None:
    dek = pair.wrap(pair.arn)

    async def act(aws: AwsKmsService) -> WrappedDek:
        return (await aws.re_encrypt(dek, CONTEXT, pair.other, CONTEXT)).dek

    with pair.home.on().answer(Reset()):
        moved = pair.run(act)
    assert (moved.key_arn, moved.region) == (there(pair.other), FALLBACK)
    assert pair.open(moved) == pair.other


def test_a_circuit_spares_later_calls_the_waiting_and_a_trial_ends_it(pair: Pair) -> None:
    dek = pair.wrap(pair.arn)

    async def act(aws: AwsKmsService) -> None:
        home = aws.regions.home
        rule = pair.home.on().answer(Hang())
        await asyncio.gather(*(aws.decrypt(dek, CONTEXT) for _ in range(3)))
        assert (home.state, home.reason) == (CircuitState.OPEN, "ReadTimeoutError")
        assert home.away_since is not None
        asked = pair.home.count("Decrypt")
        for _ in range(20):
            assert (await aws.decrypt(dek, CONTEXT)).key_arn == there(pair.arn)
        assert pair.home.count("Decrypt") == asked
        # 1. The pause is over: one of many calls tries the Region, and the others do not wait for it.
        pair.clock.now += 3
        await asyncio.gather(*(aws.decrypt(dek, CONTEXT) for _ in range(20)))
        assert pair.home.count("Decrypt") == asked + 1
        assert home.state is CircuitState.OPEN
        # 2. It is back: the next trial closes the circuit.
        rule.remove()
        pair.clock.now += 60
        assert (await aws.decrypt(dek, CONTEXT)).key_arn == pair.arn
        assert aws.regions.states[0] == RegionState(HOME, RegionRole.PRIMARY, CircuitState.CLOSED, "", None)

    pair.run(act)


def test_refusals_show_that_a_region_is_there(pair: Pair) -> None:
    dek = pair.wrap(pair.arn)

    async def act(aws: AwsKmsService) -> None:
        for _ in range(4):
            with pair.home.on().answer(Status(500)):
                await aws.decrypt(dek, CONTEXT)
            with pair.home.deny(pair.arn), pytest.raises(KmsKeyUnusable):
                await aws.decrypt(dek, CONTEXT)
        assert aws.regions.home.state is CircuitState.CLOSED

    pair.run(act)


def test_the_second_region_has_its_time_within_the_deadline(pair: Pair) -> None:
    dek = pair.wrap(pair.arn)

    async def act(aws: AwsKmsService) -> str:
        with context.deadline(8):
            return (await aws.decrypt(dek, CONTEXT)).key_arn

    # Without a reserve, three attempts of nearly two seconds each would leave too little.
    with pair.home.on().answer(Delay(1.8)), pair.home.on().answer(Status(500)):
        assert pair.run(act) == there(pair.arn)


def test_with_both_regions_away_nobody_waits(pair: Pair) -> None:
    dek = pair.wrap(pair.arn)

    async def act(aws: AwsKmsService) -> None:
        for _ in range(5):
            with pytest.raises(KmsUnavailable):
                await aws.decrypt(dek, CONTEXT)
        asked = pair.home.count() + pair.fallback.count()
        with pytest.raises(KmsCallNotMade):
            await aws.decrypt(dek, CONTEXT)
        assert pair.home.count() + pair.fallback.count() == asked

    with pair.home.on().answer(Reset()), pair.fallback.on().answer(Reset()):
        pair.run(act)


def test_an_alias_is_described_by_the_second_region_as_a_key_of_the_first(pair: Pair) -> None:
    async def act(aws: AwsKmsService) -> str:
        return (await aws.describe("alias/Empressa-wallet-key-1")).arn

    with pair.home.on().answer(Reset()):
        assert pair.run(act) == pair.arn
        pair.fallback.store.set_alias("alias/Empressa-wallet-key-1", pair.fallback.store.create("theirs"))
        with pytest.raises(KmsUnavailable):
            pair.run(act)
        pair.fallback.store.backend.delete_alias("alias/Empressa-wallet-key-1")
        with pytest.raises(KmsUnavailable):
            pair.run(act)


# Hedging.


def _prime(pair: Pair) -> WrappedDek:
    pair.hedge = Hedge()
    dek = pair.wrap(pair.arn)
    for _ in range(ENOUGH):
        pair.hedge._slowest.add(0.05)
    return dek


def _slow(pair: Pair) -> AbstractContextManager[object]:
    return pair.home.on("Decrypt").answer(Delay(1.5))


def test_a_slow_decrypt_is_answered_by_the_other_region(pair: Pair) -> None:
    dek = _prime(pair)
    with _slow(pair):
        assert pair.open(dek) == there(pair.arn)
    assert (pair.home.count("Decrypt"), pair.fallback.count("Decrypt")) == (1, 1)


def test_nothing_is_hedged_before_enough_is_known_and_no_encrypt_ever(pair: Pair) -> None:
    pair.hedge = Hedge()
    dek = pair.wrap(pair.arn)
    with _slow(pair):
        assert pair.open(dek) == pair.arn
    dek = _prime(pair)
    with pair.home.on("Encrypt").answer(Delay(0.5)):
        pair.wrap(pair.arn)
    assert pair.fallback.requests == []


def test_a_refusal_of_the_first_region_ends_it_while_the_second_is_asked(pair: Pair) -> None:
    dek = _prime(pair)
    hanging = pair.fallback.on("Decrypt").answer(Hang())
    with _slow(pair), pair.home.deny(pair.arn, "Decrypt"), hanging, pytest.raises(KmsKeyUnusable):
        pair.open(dek)
    assert pair.fallback.count("Decrypt") == 1


def test_an_error_of_the_second_region_leaves_the_answer_to_the_first(pair: Pair) -> None:
    dek = _prime(pair)
    with _slow(pair), pair.fallback.deny(pair.arn.replace(HOME, FALLBACK), "Decrypt"):
        assert pair.open(dek) == pair.arn


def test_hedged_calls_still_open_the_circuit_of_a_region_that_hangs(pair: Pair) -> None:
    dek = _prime(pair)

    async def act(aws: AwsKmsService) -> None:
        with pair.home.on("Decrypt").answer(Hang()):
            await asyncio.gather(*(aws.decrypt(dek, CONTEXT) for _ in range(3)))
            await wait_until_async(lambda: aws.regions.home.state is CircuitState.OPEN)

    pair.run(act)


# Trials for their own sake.


def test_a_region_that_no_request_uses_is_tried_in_the_background(pair: Pair) -> None:
    dek = pair.wrap(pair.arn)

    async def act(aws: AwsKmsService) -> None:
        watch = RegionWatch(aws.regions, "alias/Empressa-wallet-key-1", pair.clock)
        with pair.home.on().answer(Reset()):
            for _ in range(5):
                await aws.decrypt(dek, CONTEXT)
        states = [aws.regions.states[0].circuit]
        for _ in range(2):  # a request may try it first
            pair.clock.now += 3
            await watch.look()
            states.append(aws.regions.states[0].circuit)
        assert states == [CircuitState.OPEN, CircuitState.HALF_OPEN, CircuitState.CLOSED]

    pair.run(act)


def test_the_fallback_region_is_tried_before_it_is_needed(pair: Pair) -> None:
    async def act(aws: AwsKmsService) -> None:
        watch = RegionWatch(aws.regions, "alias/Empressa-wallet-key-1", pair.clock)
        await watch.look()
        await watch.look()
        assert pair.fallback.count("DescribeKey") == 1
        assert [each.reason for each in aws.regions.states] == ["", ""]
        pair.clock.now += 61
        with pair.fallback.deny("alias/Empressa-wallet-key-1"):
            await watch.look()
        assert [each.reason for each in aws.regions.states] == ["", "AccessDeniedException"]
        pair.clock.now += 61
        await watch.look()
        assert [each.reason for each in aws.regions.states] == ["", ""]

    pair.run(act)
