"""A fast stand-in for AWS KMS: the JSON protocol with real AES-256-GCM, latency as wished, several processes.

    python -m benchmarks.kms_standin --latency-ms 5 --processes 2

prints its URL and serves until it is stopped. Keys follow from a seed, so every process, and whoever imports
this module to fill a table, has the same ones. It checks no signature and keeps no record: it is there to
measure what is in front of it, and must not be what is measured.
"""

import argparse
import asyncio
import base64
import hashlib
import json
import multiprocessing
import os
import signal
import socket
import time
import uuid
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, cast

import httptools
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

REGION = "us-east-1"
ACCOUNT = "000000000000"
PREFIX = "Empressa-wallet-key"
_MAGIC = b"\x01\x02\x02\x00\x78"
_HEAD = len(_MAGIC) + 16
_NONCE = 12
_CREATED = 1_700_000_000

Params = Mapping[str, Any]
Result = dict[str, Any]


class Refused(Exception):
    """An answer with an error code of KMS."""


class Keys:
    """`count` keys that follow from `seed`; which are disabled is shared by all processes."""

    def __init__(self, count: int, seed: str = "benchmark") -> None:
        self.ids = [uuid.uuid5(uuid.NAMESPACE_URL, f"{seed}/{n}") for n in range(count)]
        self.arns = [f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{key_id}" for key_id in self.ids]
        self._ciphers = [AESGCM(hashlib.sha256(f"{seed}/{n}".encode()).digest()) for n in range(count)]
        self._by_bytes = {key_id.bytes: n for n, key_id in enumerate(self.ids)}
        self._by_name = {
            name: n
            for n, arn in enumerate(self.arns)
            for name in (arn, str(self.ids[n]), f"alias/{PREFIX}-{n + 1}")
        }
        self.disabled = multiprocessing.Array("b", count, lock=False)

    def find(self, name: str) -> int:
        """The number of a key named by ARN, id or alias."""
        if name not in self._by_name:
            raise Refused("NotFoundException")
        return self._by_name[name]

    def wrap(self, n: int, plaintext: bytes, context: Mapping[str, str]) -> bytes:
        """A ciphertext blob under key number `n`."""
        nonce = os.urandom(_NONCE)
        head = _MAGIC + self.ids[n].bytes
        return head + nonce + self._ciphers[n].encrypt(nonce, plaintext, head + _canonical(context))

    def unwrap(self, blob: bytes, context: Mapping[str, str], named: str | None) -> tuple[int, bytes]:
        """Which key made the blob, and what is in it."""
        head, nonce, sealed = blob[:_HEAD], blob[_HEAD : _HEAD + _NONCE], blob[_HEAD + _NONCE :]
        n = self._by_bytes.get(head[len(_MAGIC) :])
        if n is None:
            raise Refused("InvalidCiphertextException")
        if named is not None and self.find(named) != n:
            raise Refused("IncorrectKeyException")
        self.require(n)
        try:
            return n, self._ciphers[n].decrypt(nonce, sealed, head + _canonical(context))
        except InvalidTag:
            raise Refused("InvalidCiphertextException") from None

    def require(self, n: int) -> int:
        """The key's number, if it is enabled."""
        if self.disabled[n]:
            raise Refused("DisabledException")
        return n


def _canonical(context: Mapping[str, str]) -> bytes:
    return json.dumps(context, sort_keys=True).encode()


def _encrypt(keys: Keys, params: Params) -> Result:
    n = keys.require(keys.find(params["KeyId"]))
    blob = keys.wrap(n, base64.b64decode(params["Plaintext"]), params.get("EncryptionContext", {}))
    return {"CiphertextBlob": _b64(blob), "KeyId": keys.arns[n]}


def _decrypt(keys: Keys, params: Params) -> Result:
    blob = base64.b64decode(params["CiphertextBlob"])
    n, plaintext = keys.unwrap(blob, params.get("EncryptionContext", {}), params.get("KeyId"))
    return {"Plaintext": _b64(plaintext), "KeyId": keys.arns[n]}


def _re_encrypt(keys: Keys, params: Params) -> Result:
    destination = keys.require(keys.find(params["DestinationKeyId"]))
    blob, context = base64.b64decode(params["CiphertextBlob"]), params.get("SourceEncryptionContext", {})
    source, plaintext = keys.unwrap(blob, context, params.get("SourceKeyId"))
    wrapped = keys.wrap(destination, plaintext, params.get("DestinationEncryptionContext", {}))
    return {
        "CiphertextBlob": _b64(wrapped),
        "KeyId": keys.arns[destination],
        "SourceKeyId": keys.arns[source],
        "DestinationKeyMaterialId": _material(keys, destination),
    }


def _describe(keys: Keys, params: Params) -> Result:
    n = keys.find(params["KeyId"])
    return {
        "KeyMetadata": {
            "KeyId": str(keys.ids[n]),
            "Arn": keys.arns[n],
            "AWSAccountId": ACCOUNT,
            "CreationDate": _CREATED,
            "Enabled": not keys.disabled[n],
            "KeyState": "Disabled" if keys.disabled[n] else "Enabled",
            "KeyUsage": "ENCRYPT_DECRYPT",
            "KeySpec": "SYMMETRIC_DEFAULT",
        }
    }


def _rotation_status(keys: Keys, params: Params) -> Result:
    keys.find(params["KeyId"])
    next_date = time.time() + 864_000
    return {"KeyRotationEnabled": True, "RotationPeriodInDays": 365, "NextRotationDate": next_date}


def _rotations(keys: Keys, params: Params) -> Result:
    material = _material(keys, keys.find(params["KeyId"]))
    return {"Rotations": [{"KeyMaterialId": material, "KeyMaterialState": "CURRENT"}], "Truncated": False}


def _disable(keys: Keys, params: Params) -> Result:
    keys.disabled[keys.find(params["KeyId"])] = 1
    return {}


def _unknown(_keys: Keys, _params: Params) -> Result:
    raise Refused("UnknownOperationException")


_OPERATIONS: dict[str, Callable[[Keys, Params], Result]] = {
    "Encrypt": _encrypt,
    "Decrypt": _decrypt,
    "ReEncrypt": _re_encrypt,
    "DescribeKey": _describe,
    "GetKeyRotationStatus": _rotation_status,
    "ListKeyRotations": _rotations,
    "DisableKey": _disable,
}


def _material(keys: Keys, n: int) -> str:
    return hashlib.sha256(keys.ids[n].bytes).hexdigest()


def _b64(value: bytes) -> str:
    return base64.b64encode(value).decode()


class _Connection(asyncio.Protocol):
    """One keep-alive connection; requests come one after the other."""

    def __init__(self, keys: Keys, latency: float) -> None:
        self._keys = keys
        self._latency = latency
        self._parser = httptools.HttpRequestParser(self)
        self._target = ""
        self._body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"x-amz-target":
            self._target = value.decode().removeprefix("TrentService.")

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        body, self._body = self._body, b""
        answer = self._answer(body)
        asyncio.get_running_loop().call_later(self._latency, self._transport.write, answer)

    def _answer(self, body: bytes) -> bytes:
        status = "200 OK"
        try:
            content = json.dumps(
                _OPERATIONS.get(self._target, _unknown)(self._keys, json.loads(body))
            ).encode()
        except Refused as refusal:
            status = "400 Bad Request"
            content = json.dumps({"__type": str(refusal), "message": "refused"}).encode()
        head = (
            f"HTTP/1.1 {status}\r\nContent-Type: application/x-amz-json-1.1\r\n"
            f"x-amzn-RequestId: {uuid.uuid4()}\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        return head.encode() + content


def _serve(keys: Keys, port: int, latency: float) -> None:
    async def forever() -> None:
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        server = await asyncio.get_running_loop().create_server(
            partial(_Connection, keys, latency), "127.0.0.1", port, reuse_port=True, backlog=512
        )
        # Not as a context: it would wait for the keep-alive connections.
        await stop.wait()
        server.close()

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asyncio.run(forever())


def _terminate(processes: list[multiprocessing.Process]) -> None:
    for process in processes:
        process.terminate()


def main() -> None:
    """Serve until stopped."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--keys", type=int, default=10)
    parser.add_argument("--latency-ms", type=float, default=0.0)
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()
    keys = Keys(options.keys)
    with socket.socket() as held:
        # Bound, never listening: it holds the port that the processes share.
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind(("127.0.0.1", options.port))
        port = held.getsockname()[1]
        arguments = (keys, port, options.latency_ms / 1000)
        processes = [multiprocessing.Process(target=_serve, args=arguments) for _ in range(options.processes)]
        for process in processes:
            process.start()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: _terminate(processes))
        print(f"http://127.0.0.1:{port}", flush=True)
        for process in processes:
            process.join()


if __name__ == "__main__":
    main()
