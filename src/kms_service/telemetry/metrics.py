"""The metrics of this process, by Prometheus' conventions. Labels are bounded, and hold no user or address.

With several worker processes, a scrape adds up counters and histograms; each gauge says how it is combined.
"""

import platform
from typing import Any, TypeVar, cast

from prometheus_client import Counter, Gauge, Histogram

from kms_service import __version__

LATENCY_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
CALLERS = 100
M = TypeVar("M", Counter, Histogram)
OTHER = "other"

http_requests = Counter(
    "kms_service_http_requests_total", "Requests answered.", ["method", "route", "status"]
)
http_duration = Histogram(
    "kms_service_http_request_duration_seconds",
    "Time from the first byte of a request to the last of its answer.",
    ["route"],
    buckets=LATENCY_SECONDS,
)
in_flight = Gauge(
    "kms_service_requests_in_flight",
    "Work that is running or waiting, including that of abandoned requests.",
    multiprocess_mode="livesum",
)
connections = Gauge("kms_service_connections", "Open connections.", multiprocess_mode="livesum")
connections_ended = Counter(
    "kms_service_connections_ended_total",
    "Connections that the service closed, by what took too long or was too large.",
    ["reason"],
)
overloaded = Counter(
    "kms_service_overloaded_total", "Requests refused at once because too many were in flight."
)
timed_out = Counter("kms_service_timed_out_total", "Requests that reached their deadline.")
http_problems = Counter(
    "kms_service_http_problems_total",
    "Problems answered, including those of single users in a batch, by error code.",
    ["code"],
)
kms_requests = Counter(
    "kms_service_kms_requests_total",
    "Calls to AWS KMS, without retries: ok, access_denied, cancelled, or the error code.",
    ["operation", "key", "outcome"],
)
kms_duration = Histogram(
    "kms_service_kms_request_duration_seconds",
    "Duration of a call to AWS KMS, including retries.",
    ["operation"],
    buckets=LATENCY_SECONDS,
)
kms_billable_requests = Counter(
    "kms_service_kms_billable_requests_total",
    "HTTP requests sent to AWS KMS, including retries, by purpose: what AWS bills.",
    ["operation", "purpose"],
)
kms_retries = Counter(
    "kms_service_kms_retries_total",
    "HTTP requests to AWS KMS that repeated a failed one.",
    ["operation"],
)
region_requests = Counter(
    "kms_service_region_requests_total",
    "Calls to AWS KMS by Region; a call that fails over counts in both.",
    ["region", "operation", "outcome"],
)
region_failovers = Counter(
    "kms_service_region_failovers_total",
    "Calls made to KMS_FALLBACK_REGION in place of AWS_REGION, by outcome.",
    ["operation", "outcome"],
)
region_hedges = Counter(
    "kms_service_region_hedges_total",
    "Decrypts sent to both Regions because the first was slow: one more request each.",
)
region_circuit_open = Gauge(
    "kms_service_region_circuit_open",
    "1 while calls avoid KMS in this Region because it does not answer.",
    ["region"],
    multiprocess_mode="livemax",
)
pool_keys = Gauge(
    "kms_service_pool_keys", "Keys of the pool by status.", ["status"], multiprocess_mode="livemostrecent"
)
key_status = Gauge(
    "kms_service_key_status",
    "1 for the current status of each key, 0 for the others.",
    ["key", "status"],
    multiprocess_mode="livemostrecent",
)
wallet_opens = Counter(
    "kms_service_wallet_opens_total",
    "Openings of a stored wallet by outcome: ok, or the error code.",
    ["outcome"],
)
circuit_open = Gauge(
    "kms_service_circuit_open",
    "1 while failed calls keep new wallets away from this key.",
    ["key"],
    multiprocess_mode="livemax",
)
key_draining = Gauge(
    "kms_service_key_draining",
    "1 while operators keep new wallets away from this key.",
    ["key"],
    multiprocess_mode="livemax",
)
key_rotation_enabled = Gauge(
    "kms_service_key_rotation_enabled",
    "1 if KMS rotates this key automatically; 0 if not, or if the role may not read it.",
    ["key"],
    multiprocess_mode="livemin",
)
wallets = Gauge(
    "kms_service_wallets",
    "Wallets under each key, as last counted; `other` for keys outside the pool.",
    ["key"],
    multiprocess_mode="livemax",
)
integrity_failures = Counter(
    "kms_service_integrity_failures_total", "Stored wallets that did not open, or opened to something else."
)
secrets_released = Counter(
    "kms_service_secrets_released_total", "Secrets and signatures released.", ["kind", "actor"]
)
audit_rows = Counter(
    "kms_service_audit_rows_total",
    "Rows committed to the audit log.",
    ["action", "outcome"],
)
rate_limited = Counter(
    "kms_service_rate_limited_total", "Releases refused by a token's limit a minute.", ["kind", "actor"]
)
policy_denied = Counter(
    "kms_service_policy_denied_total",
    "Releases refused by a token's policy, by the rule that came nearest.",
    ["policy", "rule", "action"],
)
policy_integrity_failures = Counter(
    "kms_service_policy_integrity_failures_total",
    "Policies found missing, or not as an operator wrote them.",
)
token_integrity_failures = Counter(
    "kms_service_token_integrity_failures_total",
    "Tokens refused because their rows are not as an operator last wrote them.",
)
seal_integrity_failures = Counter(
    "kms_service_seal_integrity_failures_total",
    "Changes of the seal found forged or missing: each seals.",
)
sealed = Gauge(
    "kms_service_sealed",
    "1 while an operator stops all releases and signatures.",
    multiprocess_mode="livemostrecent",
)
canary_opened = Counter(
    "kms_service_canary_opened_total",
    "Releases from wallets that nobody should ever open.",
    ["action", "actor"],
)
audit_heads_failures = Counter(
    "kms_service_audit_heads_failures_total",
    "Times that heads of audit chains could not be written to AUDIT_HEADS_URL.",
)
audit_heads_kept = Gauge(
    "kms_service_audit_heads_kept_timestamp_seconds",
    "Unix time at which heads were last written to AUDIT_HEADS_URL.",
    multiprocess_mode="livemin",
)
audit_foreign_rows = Counter(
    "kms_service_audit_foreign_rows_total",
    "Positions in audit chains where somebody else had written a row; the chain was abandoned.",
)
audit_last_row = Gauge(
    "kms_service_audit_last_row_timestamp_seconds",
    "Unix time, by the database's clock, of the newest row that this process committed.",
    multiprocess_mode="livemax",
)
authentication_failures = Counter(
    "kms_service_authentication_failures_total",
    "Requests without a valid token.",
)
database_duration = Histogram(
    "kms_service_database_statement_duration_seconds",
    "Duration of a statement, from sending it to its result.",
    buckets=LATENCY_SECONDS,
)
database_errors = Counter(
    "kms_service_database_errors_total",
    "Failed statements, and connections that were lost or could not be opened.",
    ["error"],
)
database_connections = Gauge(
    "kms_service_database_connections",
    "Connections to PostgreSQL by state, sampled every few seconds.",
    ["state"],
    multiprocess_mode="livesum",
)
build_info = Gauge(
    "kms_service_build_info",
    "Always 1; the labels say what is running.",
    ["version", "python"],
    multiprocess_mode="livemax",
)
start_time = Gauge(
    "kms_service_start_time_seconds",
    "Unix time at which the oldest worker of this version started to count.",
    ["version"],  # a gauge without labels would be 0, and so the oldest, in a worker that has not begun
    multiprocess_mode="livemin",
)
stale_wallets = Gauge(
    "kms_service_stale_wallets",
    "Wallets wrapped before their key's last rotation, as last counted.",
    ["key"],
    multiprocess_mode="livemax",
)
rotation_wallets = Counter(
    "kms_service_rotation_wallets_total",
    "Wallets that this process's rotation worker handled.",
    ["outcome"],
)
rotations_ended = Counter(
    "kms_service_rotations_ended_total", "Rotations that ended while this process worked on them.", ["status"]
)
rotation_remaining = Gauge(
    "kms_service_rotation_remaining_wallets",
    "Wallets that the current rotation still has to move; 0 without one.",
    multiprocess_mode="livemax",
)

_callers: set[str] = set()
_series: dict[tuple[object, tuple[str, ...]], Any] = {}


def series(metric: M, *labels: str) -> M:
    """The series of a metric with these label values, cached, since a look-up costs more than counting."""
    found = _series.get((metric, labels))
    if found is None:
        found = _series[metric, labels] = metric.labels(*labels)
    return cast("M", found)


def caller_label(name: str) -> str:
    """The label for a caller: their name, or `other` after the first hundred callers."""
    if name not in _callers:
        if len(_callers) >= CALLERS:
            return OTHER
        _callers.add(name)
    return name


def begin(now: float) -> None:
    """Set the gauges that say what is running and since when (Unix time)."""
    build_info.labels(__version__, platform.python_version()).set(1)
    start_time.labels(__version__).set(now)
