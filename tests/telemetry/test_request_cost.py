"""What each route costs in KMS calls and in statements: the bill and the latency.

Counted from the spans of one warm request: its token is remembered and its process has an audit chain.
"""

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from fastapi.routing import iter_route_contexts
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from asgi_client import AsgiClient
from calling import Service, make_token, serving
from event_loop import complete
from kms_endpoint import KmsEndpoint
from kms_service.access.scopes import Scope
from kms_service.api.app import create_app
from kms_service.bootstrap import Services
from kms_service.telemetry import tracing
from wiring import FreshDatabase, settings_for

POOL = "Empressa-wallet-key"
RECIPIENT = base64.b64encode(X25519PrivateKey.generate().public_key().public_bytes_raw()).decode()
TRANSACTION = {
    "to": "0x" + "11" * 20, "nonce": 0, "chainId": 1, "gas": 21000,
    "maxFeePerGas": "1", "maxPriorityFeePerGas": "1", "value": "1",
}  # fmt: skip
TYPED = {
    "types": {
        "EIP712Domain": [{"name": "name", "type": "string"}],
        "Note": [{"name": "text", "type": "string"}],
    },
    "primaryType": "Note",
    "domain": {"name": "cost"},
    "message": {"text": "hello"},
}  # fmt: skip
CONSENT = {"chainId": 1, "address": "0x" + "11" * 20, "nonce": 0}
IMPORT = {
    "importId": "00000000-0000-4000-8000-000000000000",
    "encapsulatedKey": RECIPIENT,
    "ciphertext": RECIPIENT,
}
ROTATION = {"from": [f"alias/{POOL}-1"], "dryRun": False}


ANY = -1


@dataclass(frozen=True)
class Cost:
    """One request, and what it costs; `ANY` where that depends on more than the request."""

    route: str
    path: str
    status: int
    kms: int
    statements: int
    body: Any = None
    scope: Scope | None = None

    @property
    def name(self) -> str:
        return f"{self.route} {self.status}" + (f" by {self.scope}" if self.scope else "")


# Asked in this order: what one makes, the next may need. `{id}` is the rotation's.
COSTS = [
    Cost("POST /wallets", "/wallets", 201, 1, 2, {"userId": "bob"}),
    Cost("POST /wallets", "/wallets", 409, 0, 1, {"userId": "bob"}),
    Cost("POST /wallets", "/wallets", 422, 0, 0, {"userId": "not an id"}),
    Cost("POST /wallets", "/wallets", 401, 0, 0, {"userId": "eve"}),
    Cost("POST /wallets", "/wallets", 403, 0, 1, {"userId": "eve"}, scope=Scope.WALLETS_READ),
    Cost("PUT /wallets/{userId}", "/wallets/carol", 201, 1, 2),
    Cost("PUT /wallets/{userId}", "/wallets/carol", 200, 0, 1),
    Cost("POST /wallets/batch", "/wallets/batch", 200, 0, 2, {"userIds": ["bob", "carol"]}),
    Cost("GET /wallets", "/wallets", 200, 0, 1),
    Cost("GET /wallets/{userId}", "/wallets/bob", 200, 0, 1),
    Cost("GET /wallets/{userId}", "/wallets/nobody", 404, 0, 1),
    Cost("GET /wallets/{userId}/private-key", "/wallets/bob/private-key", 200, 1, 2),
    Cost("GET /wallets/users/{userId}/private-key", "/wallets/users/bob/private-key", 200, 1, 2),
    Cost("GET /wallets/platform/verifier-private-key", "/wallets/platform/verifier-private-key", 404, 0, 0),
    Cost("POST /wallet-imports", "/wallet-imports", 201, 1, ANY),
    Cost("PUT /wallets/{userId}/import", "/wallets/bob/import", 409, 0, ANY, IMPORT),
    Cost("GET /wallets/{userId}/private-key", "/wallets/nobody/private-key", 404, 0, 2),
    Cost("POST /wallets/{userId}/private-key/export", "/wallets/bob/private-key/export", 200, 1, 2,
         {"recipientPublicKey": RECIPIENT}),
    Cost("POST /wallets/{userId}/sign/message", "/wallets/bob/sign/message", 200, 1, 2, {"message": "hello"}),
    Cost("POST /wallets/{userId}/sign/typed-data", "/wallets/bob/sign/typed-data", 200, 1, 2, TYPED),
    Cost("POST /wallets/{userId}/sign/transaction", "/wallets/bob/sign/transaction", 200, 1, 2,
         {"transaction": TRANSACTION}),
    Cost("POST /wallets/{userId}/sign/authorization", "/wallets/bob/sign/authorization", 200, 1, 2, CONSENT),
    Cost("POST /wallets/{userId}/sign/message", "/wallets/bob/sign/message?dryRun=true", 200, 0, 1,
         {"message": "hello"}),
    Cost("GET /policies", "/policies", 200, 0, 1),
    Cost("GET /policies/{name}", "/policies/none-such", 404, 0, 1),
    Cost("GET /policies/{name}/usage", "/policies/none-such/usage", 404, 0, 1),
    Cost("GET /kms/pool", "/kms/pool", 200, 0, ANY),  # counts wallets anew when a count is due
    Cost("GET /kms/status", "/kms/status", 200, 0, ANY),  # counts wallets anew when a count is due
    Cost("POST /kms/pool/refresh", "/kms/pool/refresh", 200, ANY, ANY),  # is there to ask about each key
    Cost("PUT /kms/pool/keys/{alias:path}", f"/kms/pool/keys/{POOL}-2", 200, 0, ANY, {"mode": "draining"}),
    Cost("POST /rotations", "/rotations", 202, 0, 5, ROTATION),
    Cost("GET /rotations", "/rotations", 200, 0, 1),
    Cost("GET /rotations/{id}", "/rotations/{id}", 200, 0, 3),
    Cost("GET /rotations/{id}/failures", "/rotations/{id}/failures", 200, 0, 2),
    Cost("POST /rotations/{id}/pause", "/rotations/{id}/pause", 200, 0, 2),
    Cost("POST /rotations/{id}/resume", "/rotations/{id}/resume", 200, 0, 2),
    Cost("POST /rotations/{id}/cancel", "/rotations/{id}/cancel", 200, 0, 2),
    Cost("GET /audit/events", "/audit/events", 200, 0, 1),
    Cost("GET /seal", "/seal", 200, 0, 1),
    Cost("POST /seal", "/seal", 200, 0, 3, {"reason": "drill"}),
    Cost("POST /wallets/{userId}/sign/message", "/wallets/bob/sign/message", 503, 0, 1, {"message": "hello"}),
    Cost("POST /unseal", "/unseal", 403, 0, ANY, {"reason": "drill over"}),
    Cost("GET /livez", "/livez", 200, 0, 0),
    Cost("GET /readyz", "/readyz", 200, 0, 0),
    Cost("GET /health", "/health", 200, 0, 0),
    Cost("GET /metrics", "/metrics", 200, 0, 0),
    Cost("GET /openapi.json", "/openapi.json", 200, 0, 0),
    Cost("GET /docs", "/docs", 200, 0, 0),
    Cost("GET /docs/{asset}", "/docs/swagger-ui.css", 200, 0, 0),
]  # fmt: skip


Asked = tuple[int, list[str], list[str]]


@dataclass
class Till:
    """A running service whose requests are traced, and the rotation that was started."""

    service: Service
    exporter: InMemorySpanExporter
    tokens: dict[Scope | None, str]
    rotation: str = ""

    def ask(self, cost: Cost) -> Asked:
        """Status, calls to KMS and statements of one request."""
        trace = f"{len(self.exporter.get_finished_spans()) + 1:032x}"
        token = "" if cost.status == 401 else self.tokens[cost.scope]
        method = cost.route.split()[0]
        content = {} if cost.body is None else {"json": cost.body}
        headers = {"traceparent": f"00-{trace}-b7ad6b7169203331-01"}
        path = cost.path.replace("{id}", self.rotation)
        answer = self.service.call(method, path, token=token, headers=headers, **content)
        if answer.status_code == 202:
            self.rotation = answer.json()["rotationId"]
        spans = [
            span for span in self.exporter.get_finished_spans() if span.context.trace_id == int(trace, 16)
        ]
        kms = [span.name for span in spans if span.name.startswith("KMS.")]
        texts = [str((span.attributes or {}).get("db.query.text", "")) for span in spans]
        # A token is looked up once every few seconds, whatever is asked with it meanwhile.
        return answer.status_code, kms, [text for text in texts if text and "FROM tokens" not in text]


@dataclass(frozen=True)
class Bill:
    """A service's routes, and what each request of `COSTS` did."""

    routes: set[str]
    items: list[Asked]


@pytest.fixture(scope="module")
def bill(fresh_database: FreshDatabase) -> Iterator[Bill]:
    """All requests asked in their order, after one of each kind that a process pays for once."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with fresh_database() as url, KmsEndpoint() as endpoint:
        endpoint.add_pool(POOL, 10)
        settings = settings_for(url, endpoint, tracing_enabled=True, rotation_worker_enabled=False)
        tracing.use(provider)
        with serving(settings, endpoint) as service:
            assert service.create("alice").status_code == 201
            narrow = make_token(service.services, Scope.WALLETS_READ)
            till = Till(service, exporter, {None: service.token, Scope.WALLETS_READ: narrow})
            yield Bill(_routes(service), [till.ask(cost) for cost in COSTS])
        tracing.close()


def _routes(service: Service) -> set[str]:
    return {
        f"{method} {context.path}"
        for context in iter_route_contexts(service.app.routes)
        for method in context.methods or ()
        if method != "HEAD"
    }


def test_every_route_has_its_cost_in_the_table(bill: Bill) -> None:
    assert bill.routes == {cost.route for cost in COSTS}


@pytest.mark.parametrize(("number", "cost"), list(enumerate(COSTS)), ids=[cost.name for cost in COSTS])
def test_a_request_costs_what_it_should(bill: Bill, number: int, cost: Cost) -> None:
    status, kms, statements = bill.items[number]
    assert status == cost.status
    assert cost.kms in (ANY, len(kms)), kms
    assert cost.statements in (ANY, len(statements)), statements


def test_no_route_is_built_during_a_first_request(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = create_app(services, owns_process=False)
    complete(services.audit.try_to_begin())

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a validator is made while a caller waits")

    monkeypatch.setattr("pydantic.TypeAdapter.__init__", refuse)
    client = AsgiClient(app, "")
    # The document is written when it is first asked for.
    for method, path in {tuple(cost.route.split()) for cost in COSTS} - {("GET", "/openapi.json")}:
        assert client.request(method, path).status_code < 500
