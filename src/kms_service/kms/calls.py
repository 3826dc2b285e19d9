"""What is told of a call to KMS: outcome, time, and the HTTP requests that it took.

AWS bills HTTP requests, not calls, so they are counted where botocore sends them.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kms_service.errors import KmsKeyUnusable, KmsServiceError
from kms_service.telemetry import metrics, tracing

if TYPE_CHECKING:
    from types_boto3_kms import KMSClient

ADMINISTRATION = "administration"
OK = "ok"
# Told apart from a key that is disabled or deleted: somebody changed a policy, or a stranger tries his luck.
ACCESS_DENIED = "access_denied"


@dataclass(slots=True)
class Call:
    """A call under way: how many HTTP requests it has sent, and the id that KMS gave the last one."""

    operation: str
    key: str
    purpose: str
    started: float = field(default_factory=time.perf_counter)
    requests: int = 0
    request_id: str | None = None

    @property
    def attributes(self) -> dict[str, str]:
        """What its span says of it from the start, by OpenTelemetry's conventions for AWS."""
        return {
            "rpc.system": "aws-api",
            "rpc.service": "KMS",
            "rpc.method": self.operation,
            "kms_service.key": self.key,
            "kms_service.purpose": self.purpose,
        }


_current: ContextVar[Call | None] = ContextVar("kms_call", default=None)


def watch(client: "KMSClient") -> None:
    """Have the client's HTTP requests counted from now on."""
    client.meta.events.register_last("before-send.kms", _sent)
    client.meta.events.register("after-call.kms", _answered)


@contextmanager
def measured(operation: str, key: str, purpose: str) -> Iterator[None]:
    """Count, time and trace the one call inside; an error of ours is its outcome, by its code.

    Args:
        operation: KMS's name of it.
        key: the alias, so that the label is bounded.
        purpose: what the encryption context says, or `ADMINISTRATION`.
    """
    call = Call(operation, key, purpose)
    outer = _current.set(call)
    outcome = OK
    with tracing.client_span(f"KMS.{operation}", call.attributes) as span:
        try:
            yield
        except KmsServiceError as error:
            outcome = _outcome(error)
            tracing.failed(span, outcome)
            raise
        finally:
            _current.reset(outer)
            _count(call, outcome)
            if span is not None and call.request_id is not None:
                span.set_attribute("aws.request_id", call.request_id)


def _outcome(error: KmsServiceError) -> str:
    denied = isinstance(error, KmsKeyUnusable) and error.reason == "AccessDeniedException"
    return ACCESS_DENIED if denied else error.code


def _count(call: Call, outcome: str) -> None:
    metrics.kms_requests.labels(call.operation, call.key, outcome).inc()
    metrics.kms_duration.labels(call.operation).observe(time.perf_counter() - call.started)
    metrics.kms_billable_requests.labels(call.operation, call.purpose).inc(call.requests)
    if call.requests > 1:
        metrics.kms_retries.labels(call.operation).inc(call.requests - 1)


def _sent(**_: Any) -> None:
    call = _current.get()
    if call is not None:
        call.requests += 1


def _answered(parsed: Mapping[str, Any], **_: Any) -> None:
    call = _current.get()
    if call is not None:
        call.request_id = parsed.get("ResponseMetadata", {}).get("RequestId")
