"""Invariant 8: every way in which a KMS call can fail is mapped; a new one fails a test here."""

import inspect

import botocore.exceptions
import botocore.session
import pytest
from botocore.exceptions import BotoCoreError, ClientError
from botocore.retries.standard import ThrottledRetryableChecker

from kms_service.errors import (
    IntegrityFailure,
    KmsError,
    KmsKeyUnusable,
    KmsServiceError,
    KmsThrottled,
    KmsUnavailable,
)
from kms_service.kms import faults
from kms_service.kms.errors import KmsAccessDenied, KmsKeyDisabled, KmsKeyMissing, KmsUnsupported

pytestmark = pytest.mark.invariant(8)

MAPPED: dict[type[KmsServiceError], frozenset[str]] = {
    IntegrityFailure: faults.INTEGRITY,
    KmsThrottled: faults.THROTTLING,
    KmsKeyUnusable: faults.KEY_FAULTS,
    KmsUnavailable: faults.UNAVAILABLE,
}
KINDS = {
    "AccessDeniedException": KmsAccessDenied,
    "DisabledException": KmsKeyDisabled,
    "NotFoundException": KmsKeyMissing,
    "UnsupportedOperationException": KmsUnsupported,
}
MODELLED = sorted(
    str(shape.error_code)  # type: ignore[attr-defined] # the stubs lack it
    for shape in botocore.session.get_session().get_service_model("kms").error_shapes
)
THROTTLED: list[str] = ThrottledRetryableChecker._THROTTLED_ERROR_CODES  # type: ignore[attr-defined] # private
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


@pytest.mark.parametrize("code", MODELLED)
def test_every_error_of_the_model_is_mapped_once(code: str) -> None:
    assert [kind for kind, codes in MAPPED.items() if code in codes] != []


def test_no_code_is_mapped_twice() -> None:
    total = sum(len(codes) for codes in MAPPED.values())
    assert len(frozenset().union(*MAPPED.values())) == total


@pytest.mark.parametrize("code", sorted(frozenset().union(*MAPPED.values())))
def test_a_code_becomes_its_error(code: str) -> None:
    error = faults.from_code(code, KEY, "kms-request")
    (kind,) = (kind for kind, codes in MAPPED.items() if code in codes)
    assert type(error) is KINDS.get(code, kind)
    assert isinstance(error, kind)
    assert error.code == kind.code
    assert error.kms_request_id == "kms-request"


@pytest.mark.parametrize("kind", RAISED, ids=lambda kind: kind.__name__)
def test_every_exception_of_botocore_is_caught_by_its_two_roots(kind: type[Exception]) -> None:
    """The control plane and the chain of credentials catch these."""
    assert issubclass(kind, (BotoCoreError, ClientError))


@pytest.mark.parametrize("code", ["SomethingNew", "503", ""])
def test_an_unforeseen_code_becomes_kms_unavailable(code: str) -> None:
    assert type(faults.from_code(code, KEY, None)) is KmsUnavailable


@pytest.mark.invariant(6)
@pytest.mark.parametrize("code", [*THROTTLED, "429"])
def test_every_code_that_botocore_calls_throttling_is_throttling(code: str) -> None:
    assert type(faults.from_code(code, KEY, None)) is KmsThrottled


def test_kms_errors_keep_the_request_for_the_audit_row() -> None:
    error = faults.from_code("DisabledException", KEY, "kms-request")
    assert isinstance(error, KmsError)
    assert (error.reason, error.key, error.kms_request_id) == ("DisabledException", KEY, "kms-request")
