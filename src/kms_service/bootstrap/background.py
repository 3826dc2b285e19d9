"""The background work of a process, and how often each piece runs."""

from structlog import PrintLogger

from kms_service.bootstrap.foundations import Foundations
from kms_service.kms.regions.watch import WATCH_SECONDS, RegionWatch
from kms_service.service.access.authenticate import LAST_USE_SECONDS, Authenticator
from kms_service.service.audit.log import BEGIN_SECONDS
from kms_service.service.background import Repeating
from kms_service.service.overview import READ_SECONDS, Overviews
from kms_service.service.pool.census import CENSUS_SECONDS, Census
from kms_service.service.pool.materials import LOOK_SECONDS, MaterialCensus
from kms_service.service.readiness import PROBE_SECONDS
from kms_service.service.row_macs import ROW_MAC_SECONDS, TENDING_SECONDS
from kms_service.service.switches.poll import POLL_SECONDS
from kms_service.settings import Settings
from kms_service.store.postgres.database import USAGE_SECONDS
from kms_service.telemetry.emf import FLUSH_SECONDS, EmbeddedMetrics

HEALING_SECONDS = 1.0


def background(
    settings: Settings,
    on: Foundations,
    authenticator: Authenticator,
    census: Census,
    materials: MaterialCensus,
    overviews: Overviews,
) -> tuple[Repeating, ...]:
    """All background work of a process; `Services` starts and stops it."""
    return (
        *_emf(settings),
        *_overviews(settings, overviews),
        Repeating("token last use", LAST_USE_SECONDS, authenticator.note_last_use),
        Repeating("audit chain", BEGIN_SECONDS, on.audit.try_to_begin),
        Repeating("audit heads", settings.audit_heads_seconds, on.audit.tell_heads),
        Repeating("readiness", PROBE_SECONDS, on.readiness.probe),
        Repeating("pool refresh", settings.pool_refresh_seconds, on.pool.refresh),
        Repeating("pool healing", HEALING_SECONDS, on.pool.heal),
        Repeating("regions", WATCH_SECONDS, RegionWatch(on.kms.regions, settings.aliases[0]).look),
        Repeating("row MAC keys", ROW_MAC_SECONDS, on.row_macs.heal),
        Repeating("row MAC key care", TENDING_SECONDS, on.row_macs.tend),
        Repeating("shared state", POLL_SECONDS, on.shared_state.poll),
        Repeating("key census", CENSUS_SECONDS, census.take),
        Repeating("material census", LOOK_SECONDS, materials.take),
        Repeating("connection gauges", USAGE_SECONDS, on.database.report_usage),
    )


def _emf(settings: Settings) -> tuple[Repeating, ...]:
    if not settings.metrics_emf:
        return ()
    # Printed without the logger, so that no log level filters metrics out.
    flush = EmbeddedMetrics(PrintLogger().msg).flush
    return (Repeating("embedded metrics", FLUSH_SECONDS, flush, once_more=True),)


def _overviews(settings: Settings, overviews: Overviews) -> tuple[Repeating, ...]:
    # Even if nobody is looking: what is shown while something is unavailable must be read before.
    return (Repeating("overview", READ_SECONDS, overviews.read),) if settings.console_enabled else ()
