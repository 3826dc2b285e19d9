"""The KMS stand-in as a program: keys that last, in one file, for every Region of an account.

A call that changed a key is answered only after the change is on the disk.
`python -m kms_service.local.kms.server --keys FILE` prints its URL when it serves.
"""

import argparse
import asyncio
import contextlib
import signal
import socket
import sys
from pathlib import Path

import uvloop

from kms_service.local.cloudtrail import Trail
from kms_service.local.errors import LocalError
from kms_service.local.files import exclusive, write_private
from kms_service.local.kms import state
from kms_service.local.kms.http import HttpServer
from kms_service.local.kms.operations import keys_named, perform, refuse_signature
from kms_service.local.kms.protocol import Call, Received, Reply, failure

_TRAIL_SECONDS = 2.0


class LastingKms:
    """KMS whose keys are on disk before any caller hears of them."""

    def __init__(self, keys: Path, trail: Trail | None) -> None:
        """Load `keys`, which need not exist yet, and tell `trail`, if there is one, of every call.

        Raises:
            LocalError: the file is not one that a stand-in wrote.
        """
        self._keys = keys
        self._trail = trail
        self._kept = keys.read_text() if keys.exists() else None
        try:
            self._account = state.restore(self._kept)
        except LocalError as error:
            raise LocalError(f"{keys} cannot be used: {error}") from None
        # A file of an earlier release has been given new material, which must be on disk before it is used.
        self._save()

    @property
    def account_number(self) -> str:
        """Of the keys' account, 12 digits."""
        return self._account.number

    def answer(self, call: Call) -> Reply:
        """Answer one call, in the Region that it is signed for."""
        if (refused := refuse_signature(call, None)) is not None:
            return refused
        store = self._account.region(call.region)
        reply = perform(store, call)
        if self._trail is not None:
            received = Received(call, keys_named(store, call.params), None, outcome=reply.outcome)
            self._trail.add(received, self._account.number)
        if reply.outcome != "ok" or call.changes_nothing:
            return reply
        try:
            self._save()
        except OSError as error:
            self._account = state.restore(self._kept)  # what is not on disk must not be used
            return failure("KMSInternalException", f"The key file cannot be written: {error.strerror}.")
        return reply

    def _save(self) -> None:
        changed = state.dump(self._account)
        if changed != self._kept:
            write_private(self._keys, changed)
            self._kept = changed


async def serve(keys: Path, host: str, port: int, latency: float, trail: Trail | None) -> None:
    """Serve until SIGTERM or SIGINT; print the URL as the only line once connections are accepted.

    `latency` is what each answer takes, in seconds.

    Raises:
        LocalError: another process uses the key file, or it is damaged.
    """
    keys.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
    with exclusive(keys.with_suffix(".lock")):
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        kms = LastingKms(keys, trail)
        server = HttpServer(kms.answer, latency, kms.account_number)
        listener = socket.create_server((host, port), backlog=512)
        await server.start(listener)
        print(f"http://{host}:{listener.getsockname()[1]}", flush=True)  # noqa: T201 - the starter reads it
        await _write_until(stop, trail)
        await server.stop()
        _write(trail)


async def _write_until(stop: asyncio.Event, trail: Trail | None) -> None:
    while not stop.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), _TRAIL_SECONDS)
        _write(trail)


def _write(trail: Trail | None) -> None:
    if trail is not None:
        trail.write()


def main() -> None:
    """Run the stand-in as told on the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m kms_service.local.kms.server",
        description="AWS KMS for laptops, tests and benchmarks: keys that last, in one file.",
    )
    parser.add_argument("--keys", type=Path, required=True, help="the file that keeps the keys, mode 0600")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port to listen on (a free one)")
    parser.add_argument("--latency-ms", type=float, default=0.0, help="what each answer takes (%(default)s)")
    parser.add_argument("--cloudtrail", type=Path, help="folder for files as CloudTrail would write them")
    options = parser.parse_args()
    trail = None if options.cloudtrail is None else Trail(options.cloudtrail)
    try:
        uvloop.run(serve(options.keys, options.host, options.port, options.latency_ms / 1000, trail))
    except (LocalError, OSError) as error:
        sys.exit(f"kms stand-in: {error}")


if __name__ == "__main__":
    main()
