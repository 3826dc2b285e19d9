"""KMS for tests, on loopback in this process: it fails on cue and records every request.

    with KmsEndpoint() as kms:
        pool = kms.add_pool("Empressa-wallet-key", 10)
        kms.on("Decrypt", key="alias/Empressa-wallet-key-3").times(2).answer(Error("ThrottlingException"))
        kms.on("Encrypt").at_random(0.3, seed=7).answer(Status(500))
        with kms.on("Decrypt").answer(Hang()):
            ...
        assert kms.count("Decrypt", outcome="ok") == 1

A second Region is a second endpoint of the same account: `KmsEndpoint(region=…, account=kms.account)`.
"""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from kms_service.local.iam import allows
from kms_service.local.kms.faults import Error, Rule, Script, When
from kms_service.local.kms.http import HttpServer
from kms_service.local.kms.keys import Account, Key
from kms_service.local.kms.operations import keys_named, perform, refuse_signature
from kms_service.local.kms.protocol import (
    Call,
    ConnectionReset,
    Received,
    Reply,
    failure,
)


class KmsEndpoint:
    """KMS of one account and Region at `url`; entering starts it, leaving ends it with every request."""

    def __init__(self, *, region: str = "eu-central-1", account: Account | None = None) -> None:
        self.account = account or Account("111122223333")
        self.store = self.account.region(region)
        self.requests: list[Received] = []
        self.principal: str | None = None
        """Whose credentials callers have; when set, each key's policy decides what they may do."""
        self._script = Script()
        self._changed = threading.Condition()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        """What `AWS_ENDPOINT_URL_KMS` should hold."""
        self._server = HttpServer(self._answer, 0.0, self.account.number)

    @property
    def region(self) -> str:
        """The Region of every key."""
        return self.store.region

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="kms-endpoint")
        self._thread.start()
        self._run(self._server.start(self._listener))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()
        self._run(self._server.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @contextmanager
    def refusing_connections(self) -> Iterator[None]:
        """Nothing listens at `url` inside the block, and existing connections are closed."""
        host, port = self._listener.getsockname()
        self._run(self._server.stop())
        try:
            yield
        finally:
            self._listener = socket.create_server((host, port), backlog=512)
            self._run(self._server.start(self._listener))

    # Keys, changed by the test directly, with no trace in `requests`.

    def add_pool(self, prefix: str, size: int, *, multi_region: bool = False) -> list[str]:
        """Make keys with the aliases `alias/<prefix>-1` … `-<size>`; the ARNs in that order."""
        keys = [
            self.store.create(f"{prefix} {number}", multi_region=multi_region)
            for number in range(1, size + 1)
        ]
        for number, key in enumerate(keys, 1):
            self.store.set_alias(f"alias/{prefix}-{number}", key)
        return [key.arn for key in keys]

    def replicate_to(self, other: "KmsEndpoint") -> None:
        """Make a replica of each multi-Region key in another Region, with policy, tags and aliases."""
        for key in [key for key in self.store.keys.values() if key.kept.multi_region]:
            replica = other.store.replicate(key, key.description, key.policy, key.tags)
            for alias in [name for name, arn in self.store.aliases.items() if arn == key.arn]:
                other.store.set_alias(alias, replica)

    def key(self, identifier: str) -> Key:
        """The key of an id, ARN or alias, to look at or to change (`.state = "Disabled"`)."""
        return self.store.find(identifier)

    def forget(self, identifier: str) -> None:
        """Delete the key for good, and its aliases, as after the waiting period."""
        self.store.forget(self.store.find(identifier))

    # The script.

    def on(self, *operations: str, key: str | None = None) -> When:
        """Begin a rule: for these operations (all, when none is named), for requests that name this key."""
        return When(self._script, operations, self.store.find(key).arn if key else None)

    def deny(self, key: str, *operations: str) -> Rule:
        """Refuse this key to the caller, as a changed key policy does."""
        return self.on(*operations, key=key).answer(Error("AccessDeniedException", "User is not authorized"))

    def clear(self) -> None:
        """End all faults; requests that hang go on."""
        self._script.clear()

    # The record.

    def find_requests(self, operation: str | None = None, *, key: str | None = None) -> list[Received]:
        """The requests so far, of one operation or naming one key."""
        arn = self.store.find(key).arn if key else None
        with self._changed:
            return [
                each
                for each in self.requests
                if operation in (None, each.operation) and (arn is None or arn in each.keys)
            ]

    def count(
        self, operation: str | None = None, *, key: str | None = None, outcome: str | None = None
    ) -> int:
        """How many requests came, of one operation, naming one key, or ending in one outcome."""
        return sum(outcome in (None, each.outcome) for each in self.find_requests(operation, key=key))

    def wait_for(self, number: int, operation: str | None = None, *, within: float = 60.0) -> None:
        """Return once that many requests have come, hanging ones included.

        Raises:
            TimeoutError: they did not come in `within` seconds.
        """
        deadline = time.monotonic() + within
        with self._changed:
            while self.count(operation) < number:
                if not self._changed.wait(deadline - time.monotonic()):
                    raise TimeoutError(f"{self.count(operation)} of {number} requests came")

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _answer(self, call: Call) -> Reply:
        received = Received(call, keys_named(self.store, call.params), self.principal)
        with self._changed:
            self.requests.append(received)
            self._changed.notify_all()
        try:
            reply = await self._script.answer(received, lambda: self._perform(received))
        except ConnectionReset:
            received.outcome = "reset"
            raise
        received.outcome = reply.outcome
        return reply

    def _perform(self, received: Received) -> Reply:
        if (refused := refuse_signature(received.call, self.region)) is not None:
            return refused
        if self.principal is not None and not self._policies_allow(received, self.principal):
            return failure("AccessDeniedException", f"{self.principal} is not authorized")
        return perform(self.store, received.call)

    def _policies_allow(self, received: Received, principal: str) -> bool:
        actions = {"ReEncrypt": ("kms:ReEncryptFrom", "kms:ReEncryptTo")}
        return all(
            allows(json.loads(self.store.find(arn).policy), principal, action, received.context)
            for arn in received.keys
            for action in actions.get(received.operation, (f"kms:{received.operation}",))
        )
