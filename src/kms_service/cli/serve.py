"""`kms-service serve`."""

from types import FrameType
from typing import Any

import click
import uvicorn

from kms_service.api.app import create_app
from kms_service.bootstrap import Services, build
from kms_service.settings import Settings, load_settings
from kms_service.telemetry import logs

_GRACE_SECONDS = 2


@click.command()
def serve() -> None:
    """Serve HTTP on HOST and PORT, with the settings of the environment and .env.

    Does not migrate. Exits 78 when a setting is missing or wrong or the schema is behind, 69 when no key of
    the pool can be used.
    """
    settings = load_settings()
    logs.configure(settings.log_level, settings.log_format)
    services = build(settings)
    services.check()
    if settings.workers == 1:
        _Server(uvicorn.Config(create_app(services), **_options(settings)), services).run()
        return
    services.close()
    uvicorn.run(
        "kms_service.api.app:worker_app", factory=True, workers=settings.workers, **_options(settings)
    )


class _Server(uvicorn.Server):
    """uvicorn's server, which tells not ready before it stops accepting."""

    def __init__(self, config: uvicorn.Config, services: Services) -> None:
        super().__init__(config)
        self._services = services

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._services.readiness.drain()
        super().handle_exit(sig, frame)


def _options(settings: Settings) -> dict[str, Any]:
    return {
        "host": settings.host,
        "port": settings.port,
        "access_log": False,  # the service writes its own, with request id and caller
        "log_config": None,
        "server_header": False,
        "timeout_graceful_shutdown": int(settings.request_deadline_seconds) + _GRACE_SECONDS,
    }
