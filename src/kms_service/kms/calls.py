"""Measures calls to KMS: outcome, time, and how many HTTP requests they took.

AWS bills HTTP requests, not calls, so they are counted where they are sent.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from kms_service.errors import KmsServiceError
from kms_service.kms.errors import KmsAccessDenied
from kms_service.telemetry import metrics, tracing

ADMINISTRATION = "administration"
OK = "ok"
# Not the same as a disabled or deleted key: somebody changed a policy, or a stranger is trying the keys.
ACCESS_DENIED = "access_denied"
CANCELLED = "cancelled"


@dataclass(slots=True)
class Call:
    """A call under way: how many HTTP requests it has sent, the id of the last one, and the Region asked."""

    operation: str
    key: str
    purpose: str
    started: float = field(default_factory=time.perf_counter)
    requests: int = 0
    request_id: str | None = None
    region: str | None = None

    @property
    def attributes(self) -> dict[str, str]:
        """The span's attributes from the start, by OpenTelemetry's conventions for AWS."""
        return {
            "rpc.system": "aws-api",
            "rpc.service": "KMS",
            "rpc.method": self.operation,
            "kms_service.key": self.key,
            "kms_service.purpose": self.purpose,
        }


@contextmanager
def measure(operation: str, key: str, purpose: str) -> Iterator[Call]:
    """Count, time and trace the one call in the block; the outcome is `ok`, or an error's code.

    Args:
        operation: KMS's name for it.
        key: the alias, so that the label has a bounded set of values.
        purpose: the encryption context's purpose, or `ADMINISTRATION`.
    """
    call = Call(operation, key, purpose)
    # Stays so if there is neither an answer nor an error of ours: the caller went away.
    outcome = CANCELLED
    with tracing.client_span(f"KMS.{operation}", call.attributes) as span:
        try:
            yield call
            outcome = OK
        except KmsServiceError as error:
            outcome = ACCESS_DENIED if isinstance(error, KmsAccessDenied) else error.code
            tracing.mark_failed(span, outcome)
            raise
        finally:
            _count(call, outcome)
            if span is not None and call.request_id is not None:
                span.set_attribute("aws.request_id", call.request_id)
            if span is not None and call.region is not None:
                span.set_attribute("cloud.region", call.region)


def _count(call: Call, outcome: str) -> None:
    requests = metrics.series(metrics.kms_requests, call.operation, call.key, outcome)
    duration = metrics.series(metrics.kms_duration, call.operation)
    billable = metrics.series(metrics.kms_billable_requests, call.operation, call.purpose)
    retries = metrics.series(metrics.kms_retries, call.operation)
    requests.inc()
    duration.observe(time.perf_counter() - call.started)
    billable.inc(call.requests)
    if call.requests > 1:
        retries.inc(call.requests - 1)
