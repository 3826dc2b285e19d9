"""Traces, in memory: which spans there are, how they are linked, and that none holds a secret."""

import io
import json
import re
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from calling import Service, serving
from event_loop import complete, enter
from kms_endpoint import Error, FlippedPlaintext, KmsEndpoint
from kms_service.errors import SettingsError
from kms_service.settings import Settings
from kms_service.store.postgres.tables import audit_events
from kms_service.telemetry import logs, tracing

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE = 0x0AF7651916CD43DD8448EB211C80319C


@pytest.fixture
def exporter() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing.use(provider)
    yield exporter
    tracing.close()


@pytest.fixture
def log() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def service(
    exporter: InMemorySpanExporter, settings: Settings, kms_endpoint: KmsEndpoint, log: io.StringIO
) -> Iterator[Service]:
    with serving(settings.model_copy(update={"tracing_enabled": True}), kms_endpoint) as service:
        logs.configure("DEBUG", "json", log)
        exporter.clear()
        yield service


def spans(exporter: InMemorySpanExporter, trace: int = TRACE) -> list[ReadableSpan]:
    return [span for span in exporter.get_finished_spans() if span.context.trace_id == trace]


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def call_traced(service: Service, method: str, path: str, **content: Any) -> Any:
    return service.call(method, path, headers={"traceparent": PARENT, "x-request-id": "request-1"}, **content)


def test_a_request_continues_the_trace_of_its_caller(
    service: Service, exporter: InMemorySpanExporter
) -> None:
    assert service.create("alice").status_code == 201
    assert call_traced(service, "GET", "/wallets/alice/private-key").status_code == 200
    (server,) = [span for span in spans(exporter) if span.kind is SpanKind.SERVER]
    assert server.name == "GET /wallets/{userId}/private-key"
    assert server.parent is not None
    assert server.parent.span_id == 0xB7AD6B7169203331
    assert attributes(server) == {
        "http.request.method": "GET",
        "http.route": "/wallets/{userId}/private-key",
        "http.response.status_code": 200,
        "kms_service.request_id": "request-1",
        "kms_service.actor": attributes(server)["kms_service.actor"],
    }
    children = [span for span in spans(exporter) if span is not server]
    assert {span.parent.span_id for span in children if span.parent} == {server.context.span_id}
    assert {span.name for span in children} == {"KMS.Decrypt", "SELECT"}


def test_trace_log_audit_row_and_cloudtrail_join(
    service: Service, exporter: InMemorySpanExporter, log: io.StringIO
) -> None:
    service.create("alice")
    call_traced(service, "GET", "/wallets/alice/private-key")
    (call,) = [span for span in spans(exporter) if span.name == "KMS.Decrypt"]
    with enter(service.services.database.connection()) as connection:
        rows = complete(
            connection.execute(audit_events.select().where(audit_events.c.request_id == "request-1"))
        ).all()
    assert [row.kms_request_id for row in rows] == [attributes(call)["aws.request_id"]]
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    (line,) = [line for line in lines if line["event"] == "request" and line["requestId"] == "request-1"]
    assert int(line["traceId"], 16) == TRACE


def test_statements_have_their_text_and_no_values(service: Service, exporter: InMemorySpanExporter) -> None:
    call_traced(service, "PUT", "/wallets/somebody-special")
    statements = [attributes(span) for span in spans(exporter) if "db.query.text" in attributes(span)]
    assert {statement["db.system.name"] for statement in statements} == {"postgresql"}
    assert any("record_wallet" in statement["db.query.text"] for statement in statements)
    assert "somebody-special" not in repr(statements)


def test_a_failed_span_carries_the_error_code(
    service: Service, exporter: InMemorySpanExporter, kms_endpoint: KmsEndpoint
) -> None:
    service.create("alice")
    kms_endpoint.on("Decrypt").answer(Error("DisabledException"))
    assert call_traced(service, "GET", "/wallets/alice/private-key").status_code == 503
    by_name = {span.name: span for span in spans(exporter)}
    for name, code in (("KMS.Decrypt", "kms_key_unusable"), ("GET /wallets/{userId}/private-key", "503")):
        assert by_name[name].status.status_code is StatusCode.ERROR
        assert attributes(by_name[name])["error.type"] == code
        assert by_name[name].events == ()


@pytest.mark.invariant(1)
def test_no_span_holds_a_secret_or_a_rejected_value(
    service: Service, exporter: InMemorySpanExporter, kms_endpoint: KmsEndpoint
) -> None:
    canary = "canary-5e1f"
    service.create("alice")
    key = service.call("GET", "/wallets/alice/private-key").json()["privateKey"]
    kms_endpoint.on("Decrypt").answer(FlippedPlaintext())
    assert service.call("GET", "/wallets/alice/private-key").status_code == 500
    service.call("GET", f"/wallets/{canary}%20?{canary}=1")
    service.call("POST", "/wallets", json={"userId": f"{canary} "})
    service.call("GET", f"/{canary}", token=canary)
    service.call("POST", "/wallets", content=canary, headers={"content-type": "application/json"})
    told = " ".join(span.to_json() for span in exporter.get_finished_spans())
    assert "KMS.Encrypt" in told
    for secret in (key, key.removeprefix("0x"), service.token, canary):
        assert secret not in told
    assert not re.search(r"0x[0-9a-fA-F]{64}", told)


def test_without_tracing_there_is_no_span_and_no_trace_id(
    settings: Settings, kms_endpoint: KmsEndpoint, log: io.StringIO
) -> None:
    with serving(settings, kms_endpoint) as service:
        logs.configure("DEBUG", "json", log)
        assert call_traced(service, "GET", "/livez").status_code == 200
    assert '"event": "request"' in log.getvalue()
    assert "traceId" not in log.getvalue()


def test_missing_packages_are_one_problem_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(SettingsError, match=r"TRACING_ENABLED.*\n.*kms-service\[tracing\]"):
        tracing.export()
