"""The gauges of the pool's keys."""

from collections.abc import Sequence

from kms_service.kms.keys.circuit import CircuitState
from kms_service.kms.keys.info import KeyMode, KeyStatus, KmsKeyInfo
from kms_service.telemetry import metrics


def show(keys: Sequence[KmsKeyInfo]) -> None:
    """Set every gauge to the present state of these keys."""
    for status in KeyStatus:
        metrics.pool_keys.labels(status.value).set(sum(key.status is status for key in keys))
    for key in keys:
        for status in KeyStatus:
            metrics.key_status.labels(key.alias, status.value).set(key.status is status)
        metrics.circuit_open.labels(key.alias).set(key.circuit is not CircuitState.CLOSED)
        metrics.key_draining.labels(key.alias).set(key.mode is KeyMode.DRAINING)
        rotates = key.rotation is not None and key.rotation.enabled
        metrics.key_rotation_enabled.labels(key.alias).set(rotates)
