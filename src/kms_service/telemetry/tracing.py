"""OpenTelemetry traces: a span for each request, database statement and KMS call; off unless enabled.

Spans hold identifiers only. Of an exception they hold its type or code, and not its text, which may hold a
secret. The SDK reads OpenTelemetry's own variables, such as OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_TRACES_SAMPLER
and OTEL_SERVICE_NAME.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from opentelemetry.context import Context
from opentelemetry.trace import (
    Span,
    SpanKind,
    StatusCode,
    Tracer,
    format_trace_id,
    get_current_span,
)

from kms_service import __version__
from kms_service.errors import SettingsError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

# Set once per process by export(), as the log is by logs.configure(). While None, tracing costs nothing.
_provider: "TracerProvider | None" = None
_tracer: Tracer | None = None
_OFF: AbstractContextManager[None] = nullcontext()


def export() -> None:
    """Start tracing; a background thread sends the spans by OTLP over HTTP.

    Raises:
        SettingsError: the optional packages are not installed.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415 # optional
            OTLPSpanExporter,
        )
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource  # noqa: PLC0415 # as above
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 # as above
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415 # as above
    except ImportError:
        problem = "TRACING_ENABLED: needs packages that are not installed"
        raise SettingsError([problem], "Install kms-service[tracing], or set it to false.") from None
    ours = Resource({"service.name": "kms-service", "service.version": __version__})
    provider = TracerProvider(resource=ours.merge(OTELResourceDetector().detect()))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    use(provider)


def use(provider: "TracerProvider | None") -> None:
    """Trace with this provider from now on; with None, stop tracing."""
    global _provider, _tracer  # noqa: PLW0603 # a process has one, as it has one log
    _provider = provider
    _tracer = None if provider is None else provider.get_tracer("kms_service", __version__)


def close() -> None:
    """Send what is left and stop tracing."""
    if _provider is not None:
        _provider.shutdown()
    use(None)


def server_span(parent: Context) -> AbstractContextManager[Span | None]:
    """A span for a request, current in the block; it gets its name once the route is known."""
    return _OFF if _tracer is None else _start(_tracer, "request", SpanKind.SERVER, {}, parent)


def client_span(name: str, attributes: Mapping[str, str]) -> AbstractContextManager[Span | None]:
    """A span for a call to another service, current in the block; None while tracing is off."""
    return _OFF if _tracer is None else _start(_tracer, name, SpanKind.CLIENT, attributes, None)


def begin_statement(text: str) -> Span | None:
    """A span for a database statement with this text; the caller must end it. None while tracing is off."""
    if _tracer is None:
        return None
    operation = text.split(None, 1)[0].upper()
    attributes = {"db.system.name": "postgresql", "db.operation.name": operation, "db.query.text": text}
    return _tracer.start_span(operation, kind=SpanKind.CLIENT, attributes=attributes)


def mark_failed(span: Span | None, error_type: str) -> None:
    """Mark a span as failed, with the error's code or type, and never its text."""
    if span is not None:
        span.set_attribute("error.type", error_type)
        span.set_status(StatusCode.ERROR)


def trace_id() -> str | None:
    """The current trace's id, 32 hex digits, for logs; None if there is none."""
    if _tracer is None:
        return None
    context = get_current_span().get_span_context()
    return format_trace_id(context.trace_id) if context.is_valid else None


def _start(
    tracer: Tracer, name: str, kind: SpanKind, attributes: Mapping[str, str], parent: Context | None
) -> AbstractContextManager[Span]:
    return tracer.start_as_current_span(
        name,
        context=parent,
        kind=kind,
        attributes=dict(attributes),
        record_exception=False,
        set_status_on_exception=False,
    )
