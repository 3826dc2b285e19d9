"""The ASGI application around a process's services."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import APIRouter, FastAPI

from kms_service import __version__
from kms_service.api import openapi, problems
from kms_service.api.asgi.in_flight import InFlight
from kms_service.api.asgi.request_scope import RequestScope
from kms_service.api.asgi.server_span import FRAMEWORK_TELEMETRY_OFF, ServerSpan
from kms_service.api.asgi.shutdown import tell_not_ready_first
from kms_service.api.console import install_console
from kms_service.api.docs import install_docs
from kms_service.api.operations import audit, metrics, policies, pool, probes, rotations, seal
from kms_service.api.wallets import imports, signing, wallets
from kms_service.bootstrap import Services, build
from kms_service.garbage_collection import start_without_collection
from kms_service.settings import Settings
from kms_service.telemetry import tracing


def create_app(services: Services, *, owns_process: bool) -> FastAPI:
    """Build the application. Its lifespan starts the services and closes them after the last request.

    Args:
        services: built and checked, not yet started.
        owns_process: whether the process only serves; if so, what it has imported is exempt from garbage
            collection for good.
    """
    settings = services.settings
    app = FastAPI(
        title="kms-service",
        version=__version__,
        summary="Custody of Ethereum wallets in front of AWS KMS and PostgreSQL.",
        lifespan=_lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json" if settings.docs_enabled else None,
        redirect_slashes=False,
        telemetry=FRAMEWORK_TELEMETRY_OFF,
    )
    app.state.services = services
    app.state.owns_process = owns_process
    app.state.in_flight = InFlight(settings.max_in_flight, settings.request_deadline_seconds)
    for router in _routers(settings):
        # Taken as they are: `include_router` would build every route again, during the first request.
        app.router.routes.extend(router.routes)
    if settings.docs_enabled:
        install_docs(app)
    if settings.console_enabled:
        install_console(app)
    problems.install(app)
    app.add_middleware(RequestScope, seconds=settings.request_deadline_seconds)
    if settings.tracing_enabled:
        app.add_middleware(ServerSpan)
    openapi.describe(app)
    return app


def _routers(settings: Settings) -> Iterator[APIRouter]:
    yield from (wallets.router, imports.router, signing.router, policies.router, audit.router, seal.router)
    yield from (pool.router, pool.status_router, rotations.router)
    yield probes.router
    if settings.metrics_port is None:
        yield metrics.router


async def serving_app(settings: Settings) -> FastAPI:
    """Build the application of a process that only serves, and check that everything it needs is there.

    Raises:
        StartupError: the schema is behind, or no key of the pool can be used.
        DatabaseUnavailable: PostgreSQL does not answer.
    """
    if settings.tracing_enabled:
        tracing.export()
    services = build(settings)
    async with AsyncExitStack() as undo:
        undo.push_async_callback(services.close)
        await services.check()
        undo.pop_all()
    return create_app(services, owns_process=True)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    services: Services = app.state.services
    # Before the first request: a process that is ready must be able to put a release on record.
    await services.audit.try_to_begin()
    services.start()
    tell_not_ready_first(services.readiness, services.settings.shutdown_delay_seconds)
    warm_up = None
    if app.state.owns_process:
        warm_up = asyncio.create_task(_warm_up(services))
    try:
        yield
    finally:
        # 1. Nothing may use the services once they are closed: not the warm-up, and no work of a request.
        if warm_up is not None:
            await asyncio.wait({warm_up})
        await app.state.in_flight.close()
        # 2. Closing them ends the audit chains with their last rows.
        await services.close()
        # 3. Export the spans of all that.
        tracing.close()


async def _warm_up(services: Services) -> None:
    with start_without_collection():
        await services.signing.warm_up()
