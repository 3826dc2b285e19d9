"""What can go wrong on cue, and when: faults, rules, and the script that holds the rules."""

import asyncio
import base64
import json
import random
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

from kms_service.local.kms.protocol import ConnectionReset, Received, Reply, failure


@dataclass(frozen=True)
class Exchange:
    """One request that a fault has met."""

    perform: Callable[[], Reply]
    """Do what KMS would do, and give its answer."""
    pause: Callable[[float | None], Awaitable[None]]
    """Wait that many seconds, or without end; in any case no longer than the rule is in force."""


Fault = Callable[[Exchange], Awaitable[Reply | None]]
"""Answers in place of KMS; or None, having waited, to let the request go on."""


@dataclass(frozen=True)
class Error:
    """An error answer: any code, modelled or not, with KMS's own HTTP status unless one is given."""

    code: str
    message: str = "scripted"
    status: int | None = None

    async def __call__(self, _: Exchange) -> Reply:
        return failure(self.code, self.message, self.status)


@dataclass(frozen=True)
class Status:
    """A bare HTTP status, as a load balancer in front of KMS sends."""

    status: int

    async def __call__(self, _: Exchange) -> Reply:
        return Reply(self.status, b"", outcome=f"HTTP {self.status}")


@dataclass(frozen=True)
class Delay:
    """Latency in seconds, then whatever comes next."""

    seconds: float

    async def __call__(self, exchange: Exchange) -> None:
        await exchange.pause(self.seconds)


@dataclass(frozen=True)
class Hang:
    """No answer while the rule is in force; then whatever comes next."""

    async def __call__(self, exchange: Exchange) -> None:
        await exchange.pause(None)


@dataclass(frozen=True)
class Reset:
    """The connection is reset before the operation is done."""

    async def __call__(self, _: Exchange) -> Reply:
        raise ConnectionReset


@dataclass(frozen=True)
class LostReply:
    """The operation is done, and the connection is reset in place of its answer."""

    async def __call__(self, exchange: Exchange) -> Reply:
        exchange.perform()
        raise ConnectionReset


@dataclass(frozen=True)
class Garbage:
    """200 with a body that is no JSON."""

    async def __call__(self, _: Exchange) -> Reply:
        return Reply(200, b"<html>not json", outcome="garbage")


@dataclass(frozen=True)
class Empty:
    """200 with an empty body."""

    async def __call__(self, _: Exchange) -> Reply:
        return Reply(200, b"", outcome="empty")


@dataclass(frozen=True)
class Truncated:
    """The operation is done, and half of its answer arrives before the connection closes."""

    async def __call__(self, exchange: Exchange) -> Reply:
        return replace(exchange.perform(), outcome="truncated", cut=True)


@dataclass(frozen=True)
class OtherKeyId:
    """The operation is done, and the answer names another key."""

    arn: str

    async def __call__(self, exchange: Exchange) -> Reply:
        return _edit(exchange, "KeyId", lambda _: self.arn)


@dataclass(frozen=True)
class ShortPlaintext:
    """The operation is done, and the answered plaintext lacks its last byte."""

    async def __call__(self, exchange: Exchange) -> Reply:
        return _edit(exchange, "Plaintext", lambda blob: _b64(base64.b64decode(blob)[:-1]))


@dataclass(frozen=True)
class FlippedPlaintext:
    """The operation is done, and one bit of the answered plaintext is wrong."""

    async def __call__(self, exchange: Exchange) -> Reply:
        return _edit(exchange, "Plaintext", lambda blob: _b64(_flip(base64.b64decode(blob))))


class Rule:
    """A fault in force, until `remove` or the end of a `with` block."""

    def __init__(self, script: "Script", when: "When", fault: Fault) -> None:
        self.hits = 0
        self._lock = threading.Lock()
        self._ended = False
        self._pauses: list[Callable[[], object]] = []
        self._script, self._when, self._fault = script, when, fault
        self._random = random.Random(when.seed)

    def claims(self, received: Received) -> bool:
        """Whether this request is this rule's; a yes counts as a hit."""
        when = self._when
        if when.operations and received.operation not in when.operations:
            return False
        if when.key is not None and when.key not in received.keys:
            return False
        if when.limit is not None and self.hits >= when.limit:
            return False
        if self._random.random() >= when.rate:
            return False
        self.hits += 1
        return True

    async def apply(self, perform: Callable[[], Reply]) -> Reply | None:
        """Apply the fault to a request; None lets the request go on."""
        return await self._fault(Exchange(perform, self._pause))

    def remove(self) -> None:
        """End the fault, from any thread; requests that hang by it go on."""
        self._script.discard(self)
        with self._lock:
            self._ended = True
            for end in self._pauses:
                end()

    async def _pause(self, seconds: float | None) -> None:
        loop, over = asyncio.get_running_loop(), asyncio.Event()
        with self._lock:
            if self._ended:
                return
            self._pauses.append(lambda: loop.call_soon_threadsafe(over.set))
        with suppress(TimeoutError):
            await asyncio.wait_for(over.wait(), seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()


@dataclass(frozen=True)
class When:
    """Which requests a fault meets: all of an operation and key, the first few, or some at random."""

    script: "Script"
    operations: tuple[str, ...]
    key: str | None
    limit: int | None = None
    rate: float = 1.0
    seed: int = 0

    def times(self, limit: int) -> Self:
        """Only the first `limit` matching requests."""
        return replace(self, limit=limit)

    def at_random(self, rate: float, *, seed: int) -> Self:
        """This share of the matching requests, drawn from a seeded generator."""
        return replace(self, rate=rate, seed=seed)

    def answer(self, fault: Fault) -> Rule:
        """Put the fault in force, behind those already there."""
        return self.script.add(Rule(self.script, self, fault))


class Script:
    """The rules in force, met in the order in which they were made."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: list[Rule] = []

    def add(self, rule: Rule) -> Rule:
        """Put a rule in force."""
        with self._lock:
            self._rules.append(rule)
        return rule

    def discard(self, rule: Rule) -> None:
        """Take a rule out of force; it need not be there."""
        with self._lock:
            self._rules = [each for each in self._rules if each is not rule]

    def clear(self) -> None:
        """End all faults."""
        for rule in list(self._rules):
            rule.remove()

    async def answer(self, received: Received, perform: Callable[[], Reply]) -> Reply:
        """The first answer that a rule gives to this request, else what KMS would do.

        Raises:
            ConnectionReset: a rule wants no answer at all.
        """
        for rule in list(self._rules):
            with self._lock:
                claimed = rule.claims(received)
            reply = await rule.apply(perform) if claimed else None
            if reply is not None:
                return reply
        return perform()


def _edit(exchange: Exchange, member: str, edit: Callable[[str], str]) -> Reply:
    reply = exchange.perform()
    result = json.loads(reply.body) if reply.body else {}
    if member not in result:
        return reply
    result[member] = edit(result[member])
    return replace(reply, body=json.dumps(result).encode(), outcome=f"lie about {member}")


def _flip(value: bytes) -> bytes:
    return bytes([value[0] ^ 1]) + value[1:]


def _b64(value: bytes) -> str:
    return base64.b64encode(value).decode()
