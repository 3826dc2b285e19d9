"""uvicorn's server in a process that serves: it gets its connections from a door, and bounds them."""

import asyncio
import math
import resource
import socket
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Protocol, cast

import uvicorn
from fastapi import FastAPI

from kms_service.api.connection.admission import SPARE_CONNECTIONS, Admission
from kms_service.api.connection.http_connection import HttpConnection
from kms_service.api.connection.patience import HANDSHAKE_SECONDS, Patience
from kms_service.settings import Settings
from kms_service.telemetry import metrics
from kms_service.telemetry.logs import get_logger
from kms_service.tls import server_context

# What a process opens besides callers' connections: those to PostgreSQL and KMS, files, a door.
_OTHER_FILES = 256

log = get_logger()


class Door(Protocol):
    """Where connections come from."""

    def open(self, server: "Server") -> None:
        """Begin to let them in, with `Server.admit`; on the running event loop."""

    def note_leaving(self) -> None:
        """Note that a connection has ended."""

    def close(self) -> None:
        """Let in those that are already waiting, and no more."""


class Server(uvicorn.Server):
    """uvicorn's server, but it does not listen itself."""

    def __init__(self, config: uvicorn.Config, door: Door, most: int) -> None:
        super().__init__(config)
        self._door = door
        self._most = most
        self._connecting: dict[asyncio.Task[None], None] = {}  # in order of arrival

    @property
    def open_connections(self) -> int:
        """How many there are, including those in a TLS handshake."""
        return len(self.server_state.connections) + len(self._connecting)

    def admit(self, connection: socket.socket) -> None:
        """Serve an accepted connection, which the server owns from now on. Call this on its event loop."""
        connection.setblocking(False)
        task = asyncio.get_running_loop().create_task(self._connect(connection))
        self._connecting[task] = None
        task.add_done_callback(self._connecting.pop)
        if self.config.ssl is not None and len(self._connecting) > self._most + SPARE_CONNECTIONS:
            # A flood of handshakes: the oldest goes, since the newest may be a probe's.
            next(iter(self._connecting)).cancel()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, and open the door."""
        del sockets
        await super().startup([])
        if self.started:
            self._door.open(self)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the door, and finish."""
        del sockets
        self._door.close()
        if self._connecting:
            await asyncio.wait(self._connecting, timeout=1)
        await super().shutdown([])

    async def _connect(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        bounds: dict[str, Any] = {}
        if self.config.ssl is not None:
            bounds = {"ssl_handshake_timeout": HANDSHAKE_SECONDS, "ssl_shutdown_timeout": HANDSHAKE_SECONDS}
        try:
            with suppress(OSError):  # it is already gone, as the next line will find out
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await loop.connect_accepted_socket(self._protocol, connection, ssl=self.config.ssl, **bounds)
        except (OSError, asyncio.CancelledError):  # and every failure of TLS
            metrics.connections_ended.labels("handshake").inc()
            connection.close()

    def _protocol(self) -> asyncio.Protocol:
        made: asyncio.Protocol = self.config.http_protocol_class(
            config=self.config,  # type: ignore[call-arg] # as uvicorn calls it
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )
        return made


async def serve(app: FastAPI, settings: Settings, door: Door) -> None:
    """Serve the application until a signal comes, on the loop that it was made on."""
    _allow_files(settings.max_connections + _OTHER_FILES)
    config = uvicorn.Config(
        app,
        http=cast(
            "type[HttpConnection]",
            partial(
                HttpConnection,
                admission=Admission(settings.max_connections, door.note_leaving),
                patience=Patience(settings.request_deadline_seconds, settings.keep_alive_seconds),
                stops=lambda: app.state.services.readiness.draining,
            ),
        ),
        ws="none",
        access_log=False,  # the service writes its own, with request id and caller
        log_config=None,
        server_header=False,
        proxy_headers=False,  # nothing here asks who the peer is or by which scheme it came
        reset_contextvars=True,  # else a request would inherit the deadline of the one before it
        timeout_graceful_shutdown=math.ceil(settings.finish_seconds),
        ssl_context_factory=_tls(settings),
    )
    await Server(config, door, settings.max_connections).serve()


def _allow_files(count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):  # macOS has a lower limit that it does not report
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if allowed != resource.RLIM_INFINITY and allowed < count:
        log.warning("too_few_files_allowed", allowed=allowed, wanted=count)


def _tls(settings: Settings) -> Any:
    if settings.tls_cert_file is None or settings.tls_key_file is None:
        return None
    return partial(_context, (settings.tls_cert_file, settings.tls_key_file, settings.tls_client_ca_file))


def _context(files: tuple[Path, Path, Path | None], *_: object) -> Any:
    return server_context(*files)
