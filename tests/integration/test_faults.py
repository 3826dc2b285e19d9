"""What callers see of each KMS fault: the table of `fault_table.py`, compared with what it must say."""

from collections.abc import Iterator

import boto3
import pytest

from fault_table import FAULTS, Behaviour, measure, script
from kms_endpoint import Error
from wiring import FreshDatabase

OK, OUT = "200 kms: ok", "503 kms: no usable key"
MOVED = (201, "503 no_usable_key", OUT)
SERVED = (201, "201", OK)
# fault: read under the faulty key; create; create with both keys faulty; readiness then.
EXPECTED: dict[str, tuple[str, tuple[int, str, str]]] = {
    "none": ("200", SERVED),
    "key disabled": ("503 kms_key_unusable", MOVED),
    "key pending deletion": ("503 kms_key_unusable", MOVED),
    "key policy denies": ("503 kms_key_unusable", MOVED),
    "key gone (NotFoundException)": ("503 kms_key_unusable", MOVED),
    "KeyUnavailableException (500)": ("503 kms_unavailable", MOVED),
    "KMSInternalException (500)": ("503 kms_unavailable", MOVED),
    "DependencyTimeoutException (503)": ("503 kms_unavailable", MOVED),
    "bare HTTP 500": ("503 kms_unavailable", MOVED),
    "connection reset": ("503 kms_unavailable", MOVED),
    "done, then reset": ("503 kms_unavailable", MOVED),
    "garbage in place of JSON": ("503 kms_unavailable", MOVED),
    "empty body": ("503 kms_unavailable", MOVED),
    "truncated body": ("503 kms_unavailable", MOVED),
    "reply names another key": ("500 integrity_failure", MOVED),
    "DEK of 31 bytes": ("500 integrity_failure", SERVED),
    "one bit of the DEK wrong": ("500 integrity_failure", SERVED),
    "InvalidCiphertextException": ("500 integrity_failure", MOVED),
    "IncorrectKeyException": ("500 integrity_failure", MOVED),
}
# Slow by nature, and tested where their time matters: in test_pool.py and test_overload.py.
ELSEWHERE = {"ThrottlingException", "hang", "latency of 0.5 s"}


@pytest.fixture(scope="module")
def database(fresh_database: FreshDatabase) -> Iterator[str]:
    with fresh_database() as url:
        yield url


def _summarise(behaviour: Behaviour) -> tuple[str, tuple[int, str, str]]:
    read, together = behaviour.read, behaviour.create_all
    return (
        f"{read.status} {read.code}".strip(),
        (behaviour.create.status, f"{together.status} {together.code}".strip(), behaviour.ready_all),
    )


@pytest.mark.invariant(6)
@pytest.mark.parametrize("name", EXPECTED)
def test_each_fault_is_seen_by_callers_as_the_table_says(database: str, name: str) -> None:
    behaviour = measure(database, FAULTS[name])
    assert _summarise(behaviour) == EXPECTED[name]
    assert behaviour.other_read.status == 200
    assert behaviour.ready_one == OK


def test_the_table_leaves_no_fault_out() -> None:
    assert set(EXPECTED) | ELSEWHERE == set(FAULTS)


def _modelled_errors() -> list[str]:
    model = boto3.client("kms", region_name="eu-central-1").meta.service_model
    shapes = {
        shape.name
        for operation in ("Encrypt", "Decrypt")
        for shape in model.operation_model(operation).error_shapes
    }
    return sorted(shapes - {"DryRunOperationException"})


@pytest.mark.invariant(8)
def test_no_modelled_error_ends_as_an_internal_error(database: str) -> None:
    for code in _modelled_errors():
        behaviour = measure(database, script(Error(code)))
        assert behaviour.create.status == 201, code
        assert behaviour.create_all.status == 503, code
        assert behaviour.read.code in {"kms_unavailable", "kms_key_unusable", "integrity_failure"}, code
