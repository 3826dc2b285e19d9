"""`kms-service serve`."""

import signal
import ssl
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import click
import uvicorn

from kms_service.cli.process.supervisor import Supervisor
from kms_service.errors import SettingsError
from kms_service.lasting import lasting
from kms_service.settings import Settings, load_settings
from kms_service.telemetry import exposition, logs
from kms_service.telemetry.logs import get_logger
from kms_service.tls import server_context

# Of a stop, past the longest request.
GRACE_SECONDS = 2
# uvicorn kills a worker that does not answer for so long; within its own 5, one that imports on a busy host
# would be killed and started again for ever.
_STARTING_SECONDS = 30

log = get_logger()


@click.command()
def serve() -> None:
    """Serve HTTP on HOST and PORT, with the settings of the environment and .env; HTTPS with TLS_CERT_FILE.

    Does not migrate. Exits 78 when a setting is missing or wrong or the schema is behind, 69 when no key of
    the pool can be used. On SIGTERM it tells not ready, finishes the requests under way, and exits 0.
    """
    settings = load_settings()
    logs.configure(settings.log_level, settings.log_format)
    # uvicorn raises the signal that stopped it once more when all is done: that is no failure.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _exit)
    if settings.workers == 1:
        _serve_alone(settings)
    else:
        _supervise(settings)


def _serve_alone(settings: Settings) -> None:
    _serve_metrics(settings)
    with lasting():
        # The parent of several needs none of it.
        from kms_service.api.app import serving_app  # noqa: PLC0415
        from kms_service.api.asgi.http_connection import connections  # noqa: PLC0415

        app = serving_app(settings)
    uvicorn.Server(uvicorn.Config(app, http=connections(settings), **_options(settings))).run()


def _supervise(settings: Settings) -> NoReturn:
    with exposition.shared_folder() as folder:
        _serve_metrics(settings)
        config = uvicorn.Config(
            "kms_service.cli.process.worker:app", factory=True, workers=settings.workers, **_options(settings)
        )
        supervisor = Supervisor(config, config.bind_socket(), folder)
        supervisor.run()
    sys.exit(supervisor.exit_code)


def _serve_metrics(settings: Settings) -> None:
    # In the parent of several workers: it answers for all of them, even when all of them hang.
    if settings.metrics_port is None:
        return
    try:
        port = exposition.serve(settings.host, settings.metrics_port)
    except OSError as error:
        problem = f"METRICS_PORT: {settings.metrics_port} cannot be listened on: {error.strerror}"
        raise SettingsError(
            [problem], "Choose a free port, or leave it out to serve /metrics on PORT."
        ) from error
    log.info("metrics_served", host=settings.host, port=port)


def _exit(_signal: int, _frame: object) -> NoReturn:
    sys.exit(0)


def _options(settings: Settings) -> dict[str, Any]:
    return {
        "host": settings.host,
        "port": settings.port,
        "access_log": False,  # the service writes its own, with request id and caller
        "log_config": None,
        "server_header": False,
        "ws": "none",
        "reset_contextvars": True,  # or a request would inherit the deadline of its connection's last one
        "proxy_headers": False,  # nothing here asks who the peer is or by which scheme it came
        "timeout_graceful_shutdown": int(settings.request_deadline_seconds) + GRACE_SECONDS,
        "timeout_worker_healthcheck": _STARTING_SECONDS,
        **_tls(settings),
    }


def _tls(settings: Settings) -> dict[str, Any]:
    if settings.tls_cert_file is None or settings.tls_key_file is None:
        return {}
    files = (settings.tls_cert_file, settings.tls_key_file, settings.tls_client_ca_file)
    return {"ssl_context_factory": partial(_context, files)}


def _context(
    files: tuple[Path, Path, Path | None],
    _config: uvicorn.Config,
    _default: Callable[[], ssl.SSLContext],
) -> ssl.SSLContext:
    # A function of the module: uvicorn pickles it for its worker processes.
    return server_context(*files)
