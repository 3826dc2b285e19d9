"""The calls as a whole, against a scripted endpoint: attempts, deadlines, and what is counted and logged."""

import asyncio
import gc
import io
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import pytest
import structlog
import uvloop

from event_loop import turns
from kms_endpoint import (
    Delay,
    Empty,
    Error,
    Fault,
    FlippedPlaintext,
    Garbage,
    Hang,
    KmsEndpoint,
    LostReply,
    OtherKeyId,
    Reset,
    ShortPlaintext,
    Status,
    Truncated,
)
from kms_service import context
from kms_service.crypto.material import DataKey, WrappedDek
from kms_service.errors import IntegrityFailure, KmsServiceError, KmsThrottled, KmsUnavailable
from kms_service.kms.aws import AwsKmsService
from kms_service.kms.data_plane import attempts, connection
from kms_service.kms.data_plane.client import KmsClient, connect
from kms_service.kms.data_plane.credentials import Credentials
from kms_service.kms.data_plane.provider_chain import Loaded, NoCredentials
from kms_service.kms.data_plane.signer import AccessKeys
from kms_service.kms.errors import (
    KmsAccessDenied,
    KmsCallNotMade,
    KmsKeyDisabled,
    KmsRegionFault,
    KmsTimedOut,
)
from kms_service.kms.keys.health import KeyHealth
from kms_service.kms.regions.region import Region
from kms_service.kms.regions.routes import Regions, connect_regions
from kms_service.telemetry import logs, metrics
from waiting import wait_until_async
from wiring import settings_for

T = TypeVar("T")
CONTEXT = {"purpose": "wallet-dek", "wallet_address": "0x0"}
DEK = bytes(range(200, 232))


def _regions(client: KmsClient) -> Regions:
    return Regions(Region(client), None, when_throttled=False, hedge=None)


@dataclass
class Setting:
    """A scripted KMS with two keys, and what runs a scenario with a client of it."""

    kms: KmsEndpoint
    arn: str
    other: str
    width: int = 8

    def run(
        self,
        act: Callable[[AwsKmsService], Awaitable[T]],
        client: KmsClient | None = None,
        loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop,
    ) -> T:
        async def scenario() -> T:
            settings = settings_for("postgresql://localhost/none", self.kms)
            aws = AwsKmsService(_regions(client or connect(settings)), KeyHealth(self.width))
            try:
                return await act(aws)
            finally:
                await aws.close()

        with asyncio.Runner(loop_factory=loop) as runner:
            return runner.run(scenario())

    def wrap(self) -> WrappedDek:
        async def act(aws: AwsKmsService) -> WrappedDek:
            return (await aws.encrypt(self.arn, DataKey(DEK), CONTEXT)).dek

        return self.run(act)


@pytest.fixture
def setting() -> Iterator[Setting]:
    with KmsEndpoint() as kms:
        arn, other = kms.add_pool("Empressa-wallet-key", 2)
        yield Setting(kms, arn, other)


def test_a_dek_goes_there_and_back(setting: Setting) -> None:
    dek = setting.wrap()

    async def act(aws: AwsKmsService) -> bytes:
        moved = await aws.re_encrypt(dek, CONTEXT, setting.other, CONTEXT)
        assert moved.dek.key_arn == setting.other
        assert moved.key_material_id
        opened = await aws.decrypt(moved.dek, CONTEXT)
        assert opened.request_id
        return opened.dek.reveal()

    assert setting.run(act) == DEK
    assert [each.key_id for each in setting.kms.find_requests("Decrypt")] == [setting.other]
    assert all(each.signed for each in setting.kms.requests)


# fault: (error of a Decrypt, its requests), (error of an Encrypt, its requests)
Outcome = tuple[type[Exception], str, int]
OUTCOMES: list[tuple[Fault, Outcome, Outcome]] = [
    (Status(500), (KmsRegionFault, "500", 3), (KmsRegionFault, "500", 1)),
    (Status(503), (KmsRegionFault, "503", 3), (KmsRegionFault, "503", 1)),
    (Status(302), (KmsUnavailable, "302", 1), (KmsUnavailable, "302", 1)),
    (Status(429), (KmsThrottled, "429", 3), (KmsThrottled, "429", 3)),
    (Reset(), (KmsRegionFault, "ConnectionClosedError", 3), (KmsRegionFault, "ConnectionClosedError", 1)),
    (LostReply(), (KmsRegionFault, "ConnectionClosedError", 3), (KmsRegionFault, "ConnectionClosedError", 1)),
    (Truncated(), (KmsRegionFault, "ConnectionClosedError", 3), (KmsRegionFault, "ConnectionClosedError", 1)),
    (Hang(), (KmsTimedOut, "ReadTimeoutError", 1), (KmsTimedOut, "ReadTimeoutError", 1)),
    (Garbage(), (KmsUnavailable, "garbled reply", 1), (KmsUnavailable, "garbled reply", 1)),
    (Empty(), (KmsUnavailable, "garbled reply", 1), (KmsUnavailable, "garbled reply", 1)),
    (
        Error("ThrottlingException"),
        (KmsThrottled, "ThrottlingException", 3),
        (KmsThrottled, "ThrottlingException", 3),
    ),
    (
        Error("KMSInternalException"),
        (KmsRegionFault, "KMSInternalException", 3),
        (KmsRegionFault, "KMSInternalException", 1),
    ),
    (
        Error("AccessDeniedException"),
        (KmsAccessDenied, "AccessDeniedException", 1),
        (KmsAccessDenied, "AccessDeniedException", 1),
    ),
    (
        Error("DisabledException"),
        (KmsKeyDisabled, "DisabledException", 1),
        (KmsKeyDisabled, "DisabledException", 1),
    ),
    (
        Error("InvalidCiphertextException"),
        (IntegrityFailure, "InvalidCiphertextException", 1),
        (KmsUnavailable, "InvalidCiphertextException", 1),
    ),
    (
        OtherKeyId("arn:other"),
        (IntegrityFailure, "reply names another key", 1),
        (KmsUnavailable, "reply names another key", 1),
    ),
]


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little time before another attempt after throttling; test_attempts.py compares the real pauses."""
    monkeypatch.setattr(attempts, "THROTTLED_SCALE_SECONDS", 0.01)


@pytest.mark.invariant(4)
@pytest.mark.usefixtures("short_pauses")
@pytest.mark.parametrize(("fault", "decrypt", "encrypt"), OUTCOMES, ids=[str(each[0]) for each in OUTCOMES])
def test_each_fault_becomes_its_error_after_its_number_of_tries(
    setting: Setting, fault: Fault, decrypt: Outcome, encrypt: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    dek = setting.wrap()
    if isinstance(fault, Hang):
        monkeypatch.setattr(connection, "READ_SECONDS", 0.3)

    async def outcome(work: Awaitable[object]) -> tuple[type, str]:
        try:
            await work
        except (KmsUnavailable, KmsServiceError) as error:
            return type(error), str(getattr(error, "reason", ""))
        raise AssertionError("it went well")

    async def act(aws: AwsKmsService) -> tuple[tuple[type, str], tuple[type, str]]:
        return (
            await outcome(aws.decrypt(dek, CONTEXT)),
            await outcome(aws.encrypt(setting.other, DataKey(DEK), CONTEXT)),
        )

    before = setting.kms.count("Encrypt")
    setting.kms.on("Encrypt", "Decrypt").answer(fault)
    opened, wrapped = setting.run(act)
    assert (*opened, setting.kms.count("Decrypt")) == decrypt
    assert (*wrapped, setting.kms.count("Encrypt") - before) == encrypt


@pytest.mark.invariant(4)
def test_a_short_dek_is_an_integrity_failure(setting: Setting) -> None:
    dek = setting.wrap()
    setting.kms.on("Decrypt").answer(ShortPlaintext())
    with pytest.raises(IntegrityFailure):
        setting.run(lambda aws: aws.decrypt(dek, CONTEXT))


@pytest.mark.parametrize(
    ("dek", "reason"),
    [
        (WrappedDek("alias/x", "eu-central-1", b"b"), "stored key id"),
        (WrappedDek("arn:aws:kms:us-east-1:111122223333:key/a", "eu-central-1", b"b"), "stored key id"),
        (
            WrappedDek("arn:aws:kms:eu-central-1:111122223333:key/a", "eu-central-1", b""),
            "stored blob's length",
        ),
        (
            WrappedDek("arn:aws:kms:eu-central-1:111122223333:key/a", "eu-central-1", bytes(6145)),
            "stored blob's length",
        ),
    ],
)
def test_anything_that_cannot_be_a_stored_dek_is_not_sent(
    setting: Setting, dek: WrappedDek, reason: str
) -> None:
    with pytest.raises(IntegrityFailure) as failure:
        setting.run(lambda aws: aws.decrypt(dek, CONTEXT))
    assert failure.value.reason == reason
    with pytest.raises(IntegrityFailure):
        setting.run(lambda aws: aws.re_encrypt(dek, CONTEXT, setting.arn, CONTEXT))
    assert setting.kms.requests == []


def test_a_create_refuses_a_key_that_no_opening_could_reach(setting: Setting) -> None:
    elsewhere = setting.arn.replace("eu-central-1", "us-east-1")
    with pytest.raises(KmsCallNotMade, match="cannot be reached"):
        setting.run(lambda aws: aws.encrypt(elsewhere, DataKey(DEK), CONTEXT))
    assert setting.kms.requests == []


def test_no_attempt_begins_without_time_for_it(setting: Setting) -> None:
    dek = setting.wrap()

    async def act(aws: AwsKmsService) -> None:
        with context.deadline(2.9), pytest.raises(KmsCallNotMade) as failure:
            await aws.decrypt(dek, CONTEXT)
        assert failure.value.reason == "TooLate"
        setting.kms.on("Decrypt").answer(Delay(1.3))
        setting.kms.on("Decrypt").answer(Status(500))
        with context.deadline(4.2), pytest.raises(KmsUnavailable) as broken:
            await aws.decrypt(dek, CONTEXT)
        # Why the first attempt failed is not hidden by there being no second.
        assert broken.value.reason == "500"

    setting.run(act)
    assert setting.kms.count("Decrypt") == 1


def test_many_calls_wait_at_once_on_one_thread(setting: Setting) -> None:
    """All are under way before any is answered; a call that is given up leaves its place."""
    dek = setting.wrap()
    setting.width = 300

    async def act(aws: AwsKmsService) -> None:
        with setting.kms.on("Decrypt").answer(Hang()):
            tasks = [asyncio.create_task(aws.decrypt(dek, CONTEXT)) for _ in range(24)]
            await asyncio.to_thread(setting.kms.wait_for, 24, "Decrypt")
            for task in tasks[::2]:
                task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert sum(isinstance(each, asyncio.CancelledError) for each in results) == 12
        assert not any(isinstance(each, Exception) for each in results[1::2])
        lane = aws._health._key(setting.arn).lane
        assert not lane._started

    setting.run(act)


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_whenever_a_call_is_cancelled_no_other_call_gets_its_answer(
    setting: Setting, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """Six hundred openings of two DEKs, half of them cancelled at any of their awaits."""
    chance = random.Random(7)
    secrets = [DEK, bytes(reversed(DEK))]

    async def act(aws: AwsKmsService) -> tuple[int, int]:
        deks = [(await aws.encrypt(setting.arn, DataKey(each), CONTEXT)).dek for each in secrets]
        opened = cancelled = 0

        async def caller() -> None:
            nonlocal opened, cancelled
            for _ in range(60):
                which = chance.randrange(2)
                call = asyncio.create_task(aws.decrypt(deks[which], CONTEXT))
                if chance.random() < 0.5:
                    asyncio.get_running_loop().call_later(chance.random() * 0.003, call.cancel)
                try:
                    answer = await call
                except asyncio.CancelledError:
                    cancelled += 1
                else:
                    assert answer.dek.reveal() == secrets[which]
                    opened += 1

        await asyncio.gather(*(caller() for _ in range(10)))
        assert not aws._health._key(setting.arn).lane._started
        assert not aws._health._key(setting.arn).lane._waiting
        return opened, cancelled

    opened, cancelled = setting.run(act, loop=loop)
    assert opened + cancelled == 600
    assert cancelled > 5


@pytest.mark.parametrize("steps", range(0, 24, 2))
def test_a_call_that_is_cancelled_at_one_of_its_awaits_leaves_nothing(setting: Setting, steps: int) -> None:
    dek = setting.wrap()
    setting.width = 1

    async def act(aws: AwsKmsService) -> bytes:
        call = asyncio.create_task(aws.decrypt(dek, CONTEXT))
        await turns(steps)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        assert not aws._health.busy(setting.arn)
        return (await aws.decrypt(dek, CONTEXT)).dek.reveal()

    assert setting.run(act) == DEK


def test_a_connection_is_kept_for_the_next_call(setting: Setting) -> None:
    dek = setting.wrap()

    async def act(aws: AwsKmsService) -> int:
        for _ in range(20):
            await aws.decrypt(dek, CONTEXT)
        line = aws.regions.home._client._line
        assert line is not None
        return len(line.transport._idle)

    assert setting.run(act) == 1


def test_every_request_is_counted_with_its_outcome(setting: Setting) -> None:
    dek = setting.wrap()

    def count_billed() -> float:
        return float(metrics.kms_billable_requests.labels("Decrypt", "wallet-dek")._value.get())

    def outcomes(outcome: str) -> float:
        return float(metrics.kms_requests.labels("Decrypt", "alias/k", outcome)._value.get())

    async def act(aws: AwsKmsService) -> None:
        aws.label(setting.arn, "alias/k")
        with setting.kms.on("Decrypt").answer(Status(500)), pytest.raises(KmsUnavailable):
            await aws.decrypt(dek, CONTEXT)
        await aws.decrypt(dek, CONTEXT)
        task = asyncio.create_task(aws.decrypt(dek, CONTEXT))
        await turns()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    before = count_billed(), outcomes("kms_unavailable"), outcomes("ok"), outcomes("cancelled")
    setting.run(act)
    after = count_billed(), outcomes("kms_unavailable"), outcomes("ok"), outcomes("cancelled")
    assert [later - earlier for earlier, later in zip(before[1:], after[1:], strict=True)] == [1, 1, 1]
    assert after[0] - before[0] in {4, 5}


def test_without_credentials_nothing_is_sent_and_the_problem_is_known(setting: Setting) -> None:
    dek = setting.wrap()
    sent = len(setting.kms.requests)
    found: list[Loaded] = []

    def walk() -> Loaded:
        if not found:
            raise NoCredentials("NoCredentialsError")
        return found[0]

    async def act(aws: AwsKmsService) -> None:
        problems = [aws.credentials_problem]
        with pytest.raises(KmsCallNotMade) as failure:
            await aws.decrypt(dek, CONTEXT)
        problems.append(aws.credentials_problem)
        assert failure.value.reason == "NoCredentialsError"
        assert problems == [None, "NoCredentialsError"]
        assert len(setting.kms.requests) == sent
        found.append(Loaded(AccessKeys("AKID", "secret", None), lambda _seconds: False))
        await wait_until_async(lambda: aws.credentials_problem is None)
        await aws.decrypt(dek, CONTEXT)

    setting.run(act, KmsClient(setting.kms.url, "eu-central-1", Credentials(walk)))


def test_credentials_that_kms_no_longer_accepts_are_loaded_again(setting: Setting) -> None:
    dek = setting.wrap()
    walks: list[float] = []

    def walk() -> Loaded:
        walks.append(time.monotonic())
        return Loaded(AccessKeys("AKID", "secret", None), lambda _seconds: False)

    credentials = Credentials(walk)

    async def act(aws: AwsKmsService) -> None:
        await aws.decrypt(dek, CONTEXT)
        credentials._walked_at -= 10
        with setting.kms.on("Decrypt").answer(Error("ExpiredTokenException")):
            for _ in range(3):
                with pytest.raises(KmsUnavailable):
                    await aws.decrypt(dek, CONTEXT)
        await wait_until_async(lambda: len(walks) == 2)

    setting.run(act, KmsClient(setting.kms.url, "eu-central-1", credentials))
    assert len(walks) == 2


def test_a_closed_client_makes_no_call(setting: Setting) -> None:
    dek = setting.wrap()

    async def act(aws: AwsKmsService) -> None:
        await aws.close()
        await aws.close()
        with pytest.raises(KmsCallNotMade) as failure:
            await aws.decrypt(dek, CONTEXT)
        assert failure.value.reason == "closed"

    setting.run(act)


@pytest.fixture
def _log_restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


@pytest.mark.invariant(1)
@pytest.mark.usefixtures("_log_restored")
@pytest.mark.usefixtures("short_pauses")
def test_no_dek_is_logged_even_in_debug_mode(setting: Setting) -> None:
    """Each fault, with asyncio's debug mode and every logger at DEBUG that our settings leave there."""
    dek = setting.wrap()
    shapes = [DEK.hex(), repr(DEK)[2:40], "yMnKy8zNzs/Q", repr(bytearray(DEK))[12:40]]

    async def act() -> list[str]:
        said: list[str] = []
        loop = asyncio.get_running_loop()
        loop.slow_callback_duration = 0.0
        loop.set_exception_handler(lambda _loop, context: said.append(repr(context)))
        settings = settings_for("postgresql://localhost/none", setting.kms)
        aws = AwsKmsService(connect_regions(settings), KeyHealth(8))
        faults: list[Fault] = [FlippedPlaintext(), ShortPlaintext(), *(each[0] for each in OUTCOMES)]
        for fault in faults:
            if isinstance(fault, Hang):
                continue
            with setting.kms.on("Encrypt", "Decrypt").answer(fault):
                for work in (aws.decrypt(dek, CONTEXT), aws.encrypt(setting.other, DataKey(DEK), CONTEXT)):
                    task = asyncio.create_task(work)
                    await asyncio.wait((task,))
                    said.append(f"{task!r} {task.exception()!r}")
        opened = asyncio.create_task(aws.decrypt(dek, CONTEXT))
        await asyncio.wait((opened,))
        said.append(f"{opened!r} {opened.result()!r}")
        await aws.close()
        return said

    logged = io.StringIO()
    logs.configure("DEBUG", "json", logged)
    said = asyncio.run(act(), debug=True)
    gc.collect()
    everything = "\n".join([*said, logged.getvalue()])
    assert "Executing" in everything, "asyncio's debug mode said nothing of slow callbacks"
    assert [shape for shape in shapes if shape in everything] == []
