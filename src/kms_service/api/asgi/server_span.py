"""The trace of a request: its span continues the caller's `traceparent`.

FastAPI's own telemetry stays off: its spans hold the path and the query, and so anything a caller puts there.
"""

from fastapi.telemetry import TelemetryConfig
from opentelemetry.trace import Span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kms_service import context
from kms_service.api.callers import caller_in
from kms_service.telemetry import tracing

FRAMEWORK_TELEMETRY_OFF: TelemetryConfig = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "auto_configure": False,
}

_PROPAGATOR = TraceContextTextMapPropagator()
_SERVER_ERRORS = 500


class ServerSpan:
    """The outermost ASGI layer; it is there only if tracing is on."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request inside a span; other kinds of connections pass through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 0

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        parent = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        with tracing.server_span(_PROPAGATOR.extract(parent)) as span:
            try:
                await self._app(scope, receive, send_and_note)
            finally:
                if span is not None:
                    _describe(span, scope, status)


def _describe(span: Span, scope: Scope, status: int) -> None:
    route = getattr(scope.get("route"), "path", "unmatched")
    caller = caller_in(scope)
    span.update_name(f"{scope['method']} {route}")
    span.set_attributes(
        {
            "http.request.method": scope["method"],
            "http.route": route,
            "http.response.status_code": status,
            "kms_service.request_id": context.request_id.get() or "",
            "kms_service.actor": "" if caller is None else caller.name,
        }
    )
    if status == 0 or status >= _SERVER_ERRORS:
        tracing.mark_failed(span, str(status or "no answer"))
