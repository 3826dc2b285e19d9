"""The metrics of this process, by Prometheus' conventions; labels are bounded, no user or address."""

from prometheus_client import Counter, Gauge, Histogram

LATENCY_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

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
    "Blocking work running or waiting, also of requests that were given up on.",
    multiprocess_mode="livesum",
)
overloaded = Counter(
    "kms_service_overloaded_total", "Requests refused at once, since too many were in flight."
)
timed_out = Counter("kms_service_timed_out_total", "Requests that reached their deadline.")
kms_requests = Counter(
    "kms_service_kms_requests_total",
    "Calls to AWS KMS, retries not counted.",
    ["operation", "key", "outcome"],
)
kms_duration = Histogram(
    "kms_service_kms_request_duration_seconds",
    "Time of a call to AWS KMS, retries included.",
    ["operation"],
    buckets=LATENCY_SECONDS,
)
pool_keys = Gauge(
    "kms_service_pool_keys", "Keys of the pool by status.", ["status"], multiprocess_mode="livemax"
)
circuit_open = Gauge(
    "kms_service_circuit_open",
    "1 while real traffic keeps new wallets away from this key.",
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
    "1 where KMS rotates this key by itself; 0 also when the role may not ask.",
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
    "kms_service_secrets_released_total", "Secrets and signatures handed out.", ["kind", "actor"]
)
authentication_failures = Counter(
    "kms_service_authentication_failures_total",
    "Requests without a valid token.",
)
