"""The endpoint itself: HTTP on loopback, the script in front, the operations behind."""

import contextlib
import json
import os
import socket
import struct
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from kms_service.local.kms import administration, cryptographic
from kms_service.local.kms.faults import ConnectionReset, Error, Rule, Script, When
from kms_service.local.kms.iam import allows
from kms_service.local.kms.keys import Key, KeyStore
from kms_service.local.kms.protocol import (
    KmsError,
    Params,
    Received,
    Reply,
    Result,
    decode_blob,
    failure,
    request_id,
    success,
)

_OPERATIONS: dict[str, Callable[[KeyStore, Params], Result]] = {
    "".join(word.capitalize() for word in function.__name__.split("_")): function
    for function in (
        cryptographic.encrypt,
        cryptographic.decrypt,
        cryptographic.re_encrypt,
        cryptographic.generate_data_key,
        administration.create_key,
        administration.describe_key,
        administration.enable_key,
        administration.disable_key,
        administration.schedule_key_deletion,
        administration.cancel_key_deletion,
        administration.create_alias,
        administration.update_alias,
        administration.delete_alias,
        administration.list_aliases,
        administration.list_keys,
        administration.get_key_rotation_status,
        administration.enable_key_rotation,
        administration.disable_key_rotation,
        administration.rotate_key_on_demand,
        administration.list_key_rotations,
        administration.get_key_policy,
        administration.put_key_policy,
        administration.tag_resource,
        administration.list_resource_tags,
    )
}
_NAMING = ("KeyId", "SourceKeyId", "DestinationKeyId", "TargetKeyId")


class KmsEndpoint:
    """KMS of one account and region at `url`; entering starts it, leaving ends every request and thread."""

    def __init__(self, *, region: str = "eu-central-1", account: str = "111122223333") -> None:
        self.store = KeyStore(region=region, account=account)
        self.requests: list[Received] = []
        self.principal: str | None = None
        """Whose credentials callers have; when set, each key's policy decides what they may do."""
        self._script = Script()
        self._changed = threading.Condition()
        self._busy = threading.Lock()
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="kms-endpoint")

    @property
    def region(self) -> str:
        """The Region of every key."""
        return self.store.region

    @property
    def url(self) -> str:
        """What `AWS_ENDPOINT_URL_KMS` should hold."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()
        self._server.shutdown()
        self._server.close_connections()
        self._server.server_close()
        self._thread.join()

    # Keys, straight from the test, leaving no trace in `requests`.

    def add_pool(self, prefix: str, size: int) -> list[str]:
        """Make keys with the aliases `alias/<prefix>-1` … `-<size>`; the ARNs in that order."""
        keys = [self.store.create(f"{prefix} {number}") for number in range(1, size + 1)]
        for number, key in enumerate(keys, 1):
            self.store.set_alias(f"alias/{prefix}-{number}", key)
        return [key.arn for key in keys]

    def key(self, identifier: str) -> Key:
        """The key of an id, ARN or alias, to look at or to change (`.state = "Disabled"`)."""
        return self.store.find(identifier)

    def forget(self, identifier: str) -> None:
        """Delete the key for good, and its aliases, as after the waiting period."""
        arn = self.store.find(identifier).arn
        self.store.aliases = {name: target for name, target in self.store.aliases.items() if target != arn}
        del self.store.keys[arn]

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

    def received(self, operation: str | None = None, *, key: str | None = None) -> list[Received]:
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
        return sum(outcome in (None, each.outcome) for each in self.received(operation, key=key))

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

    def handle(self, operation: str, params: Params, *, signed: bool) -> Reply:
        """Answer one request through the script.

        Raises:
            ConnectionReset: it gets no answer.
        """
        with self._busy:
            received = Received(operation, params, self._keys_named(params), signed)
        with self._changed:
            self.requests.append(received)
            self._changed.notify_all()
        try:
            reply = self._script.answer(received, lambda: self._perform(received))
        except ConnectionReset:
            received.outcome = "reset"
            raise
        received.outcome = reply.outcome
        return reply

    def _perform(self, received: Received) -> Reply:
        if not received.signed:
            return failure("MissingAuthenticationTokenException", "Missing Authentication Token")
        if self.principal is not None and not self._policies_allow(received, self.principal):
            return failure("AccessDeniedException", f"{self.principal} is not authorized")
        operation = _OPERATIONS.get(received.operation)
        if operation is None:
            return failure("UnknownOperationException")
        try:
            with self._busy:
                return success(operation(self.store, received.params))
        except KmsError as error:
            return failure(error.code, error.message)
        except KeyError as error:
            return failure("ValidationException", f"Value null at {error} failed to satisfy constraint")

    def _policies_allow(self, received: Received, principal: str) -> bool:
        actions = {"ReEncrypt": ("kms:ReEncryptFrom", "kms:ReEncryptTo")}
        return all(
            allows(json.loads(self.store.find(arn).policy), principal, action, received.context)
            for arn in received.keys
            for action in actions.get(received.operation, (f"kms:{received.operation}",))
        )

    def _keys_named(self, params: Params) -> tuple[str, ...]:
        found = []
        for name in _NAMING:
            with contextlib.suppress(KmsError):
                found += [self.store.find(params[name]).arn] if params.get(name) else []
        if params.get("CiphertextBlob"):
            with contextlib.suppress(KmsError):
                found.append(self.store.maker(decode_blob(params, "CiphertextBlob"))[0].arn)
        return tuple(dict.fromkeys(found))


class _Server(ThreadingHTTPServer):
    """Threads that are joined at the end, so that no test leaves one behind."""

    daemon_threads = False
    request_queue_size = 128

    def __init__(self, endpoint: KmsEndpoint) -> None:
        self.endpoint = endpoint
        self._connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def close_connections(self) -> None:
        """End the keep-alive connections on which clients wait for nothing."""
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that gave up waiting: tests make them do so."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_POST(self) -> None:
        """Answer one KMS call."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        operation = self.headers.get("X-Amz-Target", "").removeprefix("TrentService.")
        signed = self.headers.get("Authorization", "").startswith("AWS4-HMAC-SHA256 ")
        try:
            self._send(self.server.endpoint.handle(operation, json.loads(body), signed=signed))
        except ConnectionReset:
            self._reset()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Say nothing; `requests` is the record."""

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("x-amzn-RequestId", request_id())
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        self.wfile.write(reply.body[: len(reply.body) // 2] if reply.cut else reply.body)
        self.close_connection = self.close_connection or reply.cut

    def _reset(self) -> None:
        # Closing with a zero linger sends RST in place of FIN; detached, so that nobody says FIN first.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        os.close(self.connection.detach())
