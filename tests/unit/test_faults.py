"""Invariant 8: every way botocore reports a failed KMS call is mapped; one nobody foresaw is noticed here."""

import inspect

import botocore.exceptions
import botocore.session
import pytest
from botocore.exceptions import BotoCoreError, ClientError
from botocore.retries.standard import ThrottledRetryableChecker

from kms_service.errors import IntegrityFailure, KmsError, KmsKeyUnusable, KmsThrottled, KmsUnavailable
from kms_service.kms import faults

pytestmark = pytest.mark.invariant(8)

MAPPED = {
    IntegrityFailure: faults.INTEGRITY,
    KmsThrottled: faults.THROTTLING,
    KmsKeyUnusable: faults.KEY_FAULTS,
    KmsUnavailable: faults.UNAVAILABLE,
}
MODELLED = sorted(
    shape.error_code for shape in botocore.session.get_session().get_service_model("kms").error_shapes
)
# About botocore's own model files and Python's warnings: no call raises them.
NOT_OF_A_CALL = {"UndefinedModelAttributeError", "MissingServiceIdError"}
RAISED = [
    kind
    for _, kind in inspect.getmembers(botocore.exceptions, inspect.isclass)
    if issubclass(kind, Exception)
    and not issubclass(kind, Warning)
    and kind.__module__ == "botocore.exceptions"
    and kind.__name__ not in NOT_OF_A_CALL
]
KEY = "alias/Empressa-wallet-key-1"


def _client_error(code: str, status: int = 400) -> ClientError:
    metadata = {"RequestId": "kms-request", "HTTPStatusCode": status}
    response = {"Error": {"Code": code, "Message": "canary"}, "ResponseMetadata": metadata}
    return ClientError(response, "Decrypt")  # type: ignore[arg-type] # as far as it is read


@pytest.mark.parametrize("code", MODELLED)
def test_every_error_of_the_model_is_mapped_once(code: str) -> None:
    assert [kind for kind, codes in MAPPED.items() if code in codes] != []


def test_no_code_is_mapped_twice() -> None:
    total = sum(len(codes) for codes in MAPPED.values())
    assert len(frozenset().union(*MAPPED.values())) == total


@pytest.mark.parametrize("code", sorted(frozenset().union(*MAPPED.values())))
def test_a_code_becomes_its_error(code: str) -> None:
    error = faults.from_botocore(_client_error(code), KEY)
    (kind,) = (kind for kind, codes in MAPPED.items() if code in codes)
    assert type(error) is kind
    assert error.kms_request_id == "kms-request"
    assert "canary" not in f"{error!r} {error}"


@pytest.mark.parametrize("kind", RAISED, ids=lambda kind: kind.__name__)
def test_every_exception_of_botocore_is_caught_by_its_two_roots(kind: type[Exception]) -> None:
    assert issubclass(kind, (BotoCoreError, ClientError))


def test_what_never_reached_kms_is_unavailable() -> None:
    error = faults.from_botocore(botocore.exceptions.EndpointConnectionError(endpoint_url="canary"), KEY)
    assert isinstance(error, KmsUnavailable)
    assert (error.reason, error.key) == ("EndpointConnectionError", KEY)
    assert "canary" not in f"{error!r} {error.reason}"


@pytest.mark.parametrize("code", ["SomethingNew", "503", ""])
def test_an_unforeseen_code_is_unavailable(code: str) -> None:
    assert type(faults.from_botocore(_client_error(code), KEY)) is KmsUnavailable


def test_an_answer_without_an_error_is_unavailable() -> None:
    error = faults.from_botocore(ClientError({}, "Decrypt"), KEY)
    assert (type(error), error.kms_request_id) == (KmsUnavailable, None)


@pytest.mark.invariant(6)
@pytest.mark.parametrize("code", ThrottledRetryableChecker._THROTTLED_ERROR_CODES)
def test_what_botocore_calls_throttling_is_throttling(code: str) -> None:
    assert type(faults.from_botocore(_client_error(code), KEY)) is KmsThrottled


@pytest.mark.invariant(6)
def test_a_bare_429_is_throttling() -> None:
    assert type(faults.from_botocore(_client_error("429", 429), KEY)) is KmsThrottled


def test_kms_errors_keep_the_request_for_the_audit_row() -> None:
    error = faults.from_botocore(_client_error("DisabledException"), KEY)
    assert isinstance(error, KmsError)
    assert (error.reason, error.key, error.kms_request_id) == ("DisabledException", KEY, "kms-request")
