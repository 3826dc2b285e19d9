"""What a call to KMS is measured by: outcome, time, and the HTTP requests that it took.

AWS bills HTTP requests, not calls, so they are counted where botocore sends them.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kms_service.errors import KmsServiceError
from kms_service.telemetry import metrics

if TYPE_CHECKING:
    from types_boto3_kms import KMSClient

ADMINISTRATION = "administration"
OK = "ok"


@dataclass(slots=True)
class Call:
    """A call under way: how many HTTP requests it sent, and the last one's id."""

    requests: int = 0
    request_id: str | None = None


_current: ContextVar[Call | None] = ContextVar("kms_call", default=None)


def watch(client: "KMSClient") -> None:
    """Have the client's HTTP requests counted from now on."""
    client.meta.events.register_last("before-send.kms", _sent)
    client.meta.events.register("after-call.kms", _answered)


@contextmanager
def measured(operation: str, key: str, purpose: str) -> Iterator[None]:
    """Count and time the one call inside; an error of ours is its outcome.

    Args:
        operation: KMS's name of it.
        key: the alias, so that the label is bounded.
        purpose: what the encryption context says, or `ADMINISTRATION`.
    """
    call = Call()
    outer = _current.set(call)
    started = time.perf_counter()
    outcome = OK
    try:
        yield
    except KmsServiceError as error:
        outcome = error.code
        raise
    finally:
        _current.reset(outer)
        metrics.kms_requests.labels(operation, key, outcome).inc()
        metrics.kms_duration.labels(operation).observe(time.perf_counter() - started)
        metrics.kms_billable_requests.labels(operation, purpose).inc(call.requests)
        if call.requests > 1:
            metrics.kms_retries.labels(operation).inc(call.requests - 1)


def _sent(**_: Any) -> None:
    call = _current.get()
    if call is not None:
        call.requests += 1


def _answered(parsed: Mapping[str, Any], **_: Any) -> None:
    call = _current.get()
    if call is not None:
        call.request_id = parsed.get("ResponseMetadata", {}).get("RequestId")
