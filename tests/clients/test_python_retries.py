"""What the Python client repeats, and what it does not."""

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from kms_service_client import (
    AsyncKmsServiceClient,
    KmsServiceClient,
    KmsServiceError,
    Problem,
    RateLimited,
    Retries,
    ServiceUnavailable,
    Unreachable,
)

WALLET = {
    "userId": "alice",
    "walletAddress": "0x" + "00" * 20,
    "compressedPublicKey": "0x02" + "00" * 32,
    "kmsKeyId": "arn",
    "kmsRegion": "eu-west-1",
    "createdAt": "2026-01-02T03:04:05Z",
}
SIGNATURE = {"walletAddress": "0x", "signature": "0x", "messageHash": "0x"}
Step = httpx.Response | Exception
Call = Callable[[KmsServiceClient], Any]


def refusal(status: int, code: str, retry_after: str | None = "2") -> httpx.Response:
    members = {"type": "about:blank", "title": "T", "status": status, "detail": "D", "code": code}
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    return httpx.Response(status, json={**members, "requestId": "r"}, headers=headers)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the client would have waited."""
    waited: list[float] = []
    monkeypatch.setattr("time.sleep", waited.append)
    return waited


class Network(httpx.MockTransport):
    """Answers one step after the other, and counts the requests."""

    def __init__(self, *steps: Step) -> None:
        self.requests = 0
        remaining = itertools.chain(steps, itertools.repeat(httpx.Response(500)))

        def answer(_: httpx.Request) -> httpx.Response:
            self.requests += 1
            step = next(remaining)
            if isinstance(step, Exception):
                raise step
            return step

        super().__init__(answer)


def attempt(network: Network, call: Call, **options: Any) -> Any:
    with KmsServiceClient("http://service", "token", transport=network, **options) as client:
        try:
            return call(client)
        except KmsServiceError as error:
            return error


def create(client: KmsServiceClient) -> Any:
    return client.create_wallet("alice")


def sign(client: KmsServiceClient) -> Any:
    return client.sign_message("alice", "hello")


def test_the_client_waits_as_long_as_the_service_says(waits: list[float]) -> None:
    network = Network(
        refusal(503, "overloaded", "3"),
        refusal(429, "rate_limited", "7"),
        httpx.Response(200, json=SIGNATURE),
    )
    assert attempt(network, sign).signature == "0x"
    assert waits == [3, 7]


def test_the_client_waits_no_longer_than_its_limit(waits: list[float]) -> None:
    network = Network(refusal(429, "rate_limited", "59"))
    error = attempt(network, sign)
    assert isinstance(error, RateLimited)
    assert error.retry_after == 59
    assert (network.requests, waits) == (1, [])


def test_the_client_gives_up_after_its_last_attempt(waits: list[float]) -> None:
    network = Network(*[refusal(503, "kms_throttled", "1")] * 9)
    assert isinstance(attempt(network, sign, retries=Retries(attempts=3)), ServiceUnavailable)
    assert (network.requests, waits) == (3, [1, 1])


def test_without_a_retry_after_the_client_waits_longer_each_time(waits: list[float]) -> None:
    network = Network(*[refusal(503, "kms_unavailable", None)] * 9)
    attempt(network, sign, retries=Retries(attempts=5))
    assert [low <= wait <= 2 * low for low, wait in zip([0.1, 0.2, 0.4, 0.8], waits, strict=True)] == [
        True
    ] * 4


@pytest.mark.parametrize("code", ["kms_key_unusable", "no_usable_key", "sealed"])
def test_a_fault_that_an_operator_must_fix_is_not_retried(code: str, waits: list[float]) -> None:
    network = Network(refusal(503, code))
    assert attempt(network, sign).code == code
    assert (network.requests, waits) == (1, [])


@pytest.mark.parametrize(
    ("status", "code"), [(404, "wallet_not_found"), (422, "invalid_request"), (500, "integrity_failure")]
)
def test_an_answer_that_will_not_change_is_not_retried(status: int, code: str, waits: list[float]) -> None:
    network = Network(refusal(status, code, None))
    assert attempt(network, sign).code == code
    assert (network.requests, waits) == (1, [])


@pytest.mark.parametrize("code", ["database_unavailable", "audit_unavailable", "deadline_exceeded"])
def test_a_create_that_may_have_taken_place_is_not_repeated(code: str, waits: list[float]) -> None:
    network = Network(refusal(503, code))
    error = attempt(network, create)
    assert isinstance(error, Problem)
    assert error.code == code
    assert (network.requests, waits) == (1, [])


@pytest.mark.parametrize("code", ["rate_limited", "overloaded", "kms_throttled", "kms_unavailable"])
def test_a_create_that_did_not_take_place_is_repeated(code: str, waits: list[float]) -> None:
    status = 429 if code == "rate_limited" else 503
    network = Network(refusal(status, code), httpx.Response(201, json=WALLET))
    assert attempt(network, create).user_id == "alice"
    assert waits == [2]


@pytest.mark.parametrize(
    "lost", [httpx.ReadTimeout("x"), httpx.ReadError("x"), httpx.RemoteProtocolError("x")]
)
def test_a_request_whose_answer_was_lost_is_repeated_unless_it_is_a_create(
    lost: Exception, waits: list[float]
) -> None:
    network = Network(lost, httpx.Response(200, json=SIGNATURE))
    assert attempt(network, sign).signature == "0x"
    assert len(waits) == 1
    network = Network(lost)
    assert isinstance(attempt(network, create), Unreachable)
    assert network.requests == 1


def test_a_request_that_was_never_sent_is_repeated(waits: list[float]) -> None:
    network = Network(httpx.ConnectError("refused"), httpx.Response(201, json=WALLET))
    assert attempt(network, create).user_id == "alice"
    assert len(waits) == 1


def test_the_asynchronous_client_keeps_the_same_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr("kms_service_client.async_client.asyncio.sleep", sleep)
    network = Network(
        refusal(503, "overloaded", "3"), httpx.Response(200, json=SIGNATURE), httpx.ReadError("lost")
    )

    async def calls() -> None:
        async with AsyncKmsServiceClient("http://service", "token", transport=network) as client:
            await client.sign_message("alice", "hello")
            with pytest.raises(Unreachable):
                await client.create_wallet("alice")

    asyncio.run(calls())
    assert (network.requests, waited) == (3, [3])
