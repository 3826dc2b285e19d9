"""`kms-service serve`."""

import json
import logging
import os
import socket
import sys
import tempfile
from dataclasses import asdict
from typing import NoReturn

import click

from kms_service.cli.process.listening import BACKLOG, bind, url
from kms_service.cli.process.loop import run_on_loop
from kms_service.cli.process.supervision.supervisor import Plan
from kms_service.cli.process.worker import exit_zero_on_signals
from kms_service.garbage_collection import start_without_collection
from kms_service.settings import Settings, load_settings
from kms_service.telemetry import exposition, logs
from kms_service.telemetry.logs import get_logger

# On a busy host, a worker's imports take long.
_STARTING_SECONDS = 60.0
# What a worker does after its last request.
_ENDING_SECONDS = 3.0
_SUPERVISOR = "kms_service.cli.process.supervision.supervisor"

log = get_logger()


@click.command()
def serve() -> None:
    """Serve HTTP on HOST and PORT (HTTPS with TLS_CERT_FILE), with settings from the environment and .env.

    Does not migrate. Exits 78 if a setting is missing or wrong or the schema is too old, 69 if no key of the
    pool can be used. On SIGTERM it reports that it is not ready, finishes the requests in flight, and exits
    0. With several WORKERS, SIGHUP replaces one after the other without a pause.
    """
    settings = load_settings()
    logs.configure(settings.log_level, settings.log_format)
    with exit_zero_on_signals():
        _serve(settings)


def _serve(settings: Settings) -> None:
    listening = bind(settings.host, settings.port, "PORT")
    scraped = _metrics_sockets(settings)
    scheme = "http" if settings.tls_cert_file is None else "https"
    log.info("listening", url=url(scheme, settings.host, listening))
    if settings.workers == 1:
        run_on_loop(_serve_alone(settings, listening, scraped))
    else:
        _supervise(settings, listening, scraped)


def _metrics_sockets(settings: Settings) -> list[socket.socket]:
    if settings.metrics_port is None:
        return []
    sockets = bind(settings.host, settings.metrics_port, "METRICS_PORT")
    log.info("metrics_served", host=settings.host, port=sockets[0].getsockname()[1])
    return sockets


async def _serve_alone(
    settings: Settings, listening: list[socket.socket], scraped: list[socket.socket]
) -> None:
    exposition.serve(scraped)
    with start_without_collection():
        # The parent of several workers needs none of it.
        from kms_service.api.app import serving_app  # noqa: PLC0415
        from kms_service.cli.process import server  # noqa: PLC0415
        from kms_service.cli.process.doors import ListeningDoor  # noqa: PLC0415

        app = await serving_app(settings)
    await server.serve(app, settings, ListeningDoor(listening))


def _supervise(settings: Settings, listening: list[socket.socket], scraped: list[socket.socket]) -> NoReturn:
    """Become the supervisor: another program in this process, to free what reading settings has loaded."""
    for each in (*listening, *scraped):
        each.set_inheritable(True)
    folder = tempfile.mkdtemp(prefix="kms-service-metrics-")
    numbers = [each.fileno() for each in scraped]
    plan = Plan(
        listening=[each.fileno() for each in listening],
        backlog=BACKLOG,
        workers=settings.workers,
        worker="kms_service.cli.process.worker",
        beside=["-m", exposition.__name__, *map(str, numbers)] if numbers else [],
        beside_sockets=numbers,
        # By then every request under way has missed its deadline.
        hang_seconds=settings.finish_seconds,
        start_seconds=_STARTING_SECONDS,
        stop_seconds=settings.shutdown_delay_seconds + settings.finish_seconds + _ENDING_SECONDS,
        as_json=logs.as_json(settings.log_format, sys.stdout),
        level=logging.getLevelNamesMapping()[settings.log_level],
        folder=folder,
    )
    os.environ[exposition.FOLDER_VARIABLE] = folder
    # With -P, unless this process itself imports from its working directory.
    safe = [] if sys.path[:1] == [os.getcwd()] else ["-P"]  # noqa: PTH109 # as sys.path has it
    words = [sys.executable, *safe, "-m", _SUPERVISOR, json.dumps(asdict(plan))]
    sys.stdout.flush()
    os.execv(sys.executable, words)  # noqa: S606 # this interpreter, our own module
