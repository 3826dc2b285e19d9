"""Which failures are retried, compared with botocore's standard mode; and where we differ, case by case."""

from typing import Any

import botocore.session
import pytest
from botocore.exceptions import ConnectionClosedError, EndpointConnectionError
from botocore.retries.quota import RetryQuota
from botocore.retries.standard import (
    ExponentialBackoff,
    RetryContext,
    RetryEventAdapter,
    RetryQuotaChecker,
    StandardRetryConditions,
    ThrottlingErrorDetector,
)
from hypothesis import assume, given
from hypothesis import strategies as st

from kms_service import context
from kms_service.kms import faults
from kms_service.kms.data_plane.attempts import ATTEMPT_SECONDS, ATTEMPTS, Attempts, Failure

_MODEL = botocore.session.get_session().get_service_model("kms").operation_model("Decrypt")
_MODELLED = {str(shape.error_code) for shape in _MODEL.error_shapes}  # type: ignore[attr-defined] # no stub
_CODES = sorted(
    (faults.INTEGRITY | faults.THROTTLING | faults.KEY_FAULTS | faults.UNAVAILABLE)
    # A status that is the code goes with that status alone.
    - {"429"}
    | {"RequestTimeout", "RequestTimeoutException", "SomethingNew"}
)
_STATUS = st.sampled_from([301, 400, 403, 404, 412, 429, 500, 501, 502, 503, 504])
_THROTTLED = Failure("ThrottlingException", 400)
_BROKEN = Failure("500", 500)
_LOST = Failure("ConnectionClosedError", None)
_LATE = Failure("ReadTimeoutError", None, timed_out=True)


class _Response:
    def __init__(self, status: int, retry_after: int | None) -> None:
        self.status_code = status
        self.headers = {} if retry_after is None else {"x-amz-retry-after": str(retry_after)}


def _context(
    number: int, code: str | None, status: int | None, retry_after: int | None, lost: Exception | None
) -> RetryContext:
    return RetryContext(
        attempt_number=number,
        operation_model=_MODEL,
        parsed_response=None if code is None else {"Error": {"Code": code}},
        http_response=None if status is None else _Response(status, retry_after),
        caught_exception=lost,
    )


def _botocores_pause(context: RetryContext, chance: float) -> float | None:
    if not StandardRetryConditions(max_attempts=ATTEMPTS).is_retryable(context):
        return None
    backoff = ExponentialBackoff(
        random=lambda: chance, throttling_detector=ThrottlingErrorDetector(RetryEventAdapter())
    )
    pause = backoff.delay_amount(context)
    assert isinstance(pause, float)
    return pause


@given(
    number=st.integers(1, 4),
    code=st.sampled_from(_CODES),
    status=_STATUS,
    retry_after=st.none() | st.integers(0, 20_000),
    chance=st.floats(0, 1),
)
def test_the_pause_before_another_decrypt_is_that_of_botocore(
    number: int, code: str, status: int, retry_after: int | None, chance: float
) -> None:
    # Botocore takes a 429 with one of the operation's own errors for that error; KMS sends no such thing.
    assume(status != 429 or code not in _MODELLED)
    asked = None if retry_after is None else retry_after / 1000
    ours = Attempts(lambda: chance).pause("Decrypt", number, Failure(code, status, retry_after=asked))
    assert ours == _botocores_pause(_context(number, code, status, retry_after, None), chance)


@pytest.mark.parametrize(
    "lost", [ConnectionClosedError(endpoint_url="x"), EndpointConnectionError(endpoint_url="x")], ids=repr
)
def test_the_pause_after_a_lost_decrypt_is_that_of_botocore(lost: Exception) -> None:
    for number in (1, 2, 3):
        theirs = _botocores_pause(_context(number, None, None, None, lost), 0.5)
        assert Attempts(lambda: 0.5).pause("Decrypt", number, Failure(type(lost).__name__, None)) == theirs


@pytest.mark.parametrize(
    ("operation", "again"),
    [
        ("Decrypt", {"throttled", "broken", "lost"}),
        ("DescribeKey", {"throttled", "broken", "lost"}),
        # Its 5xx is the pool's, which has other keys; a lost one may have been done.
        ("Encrypt", {"throttled"}),
        # Its caller paces itself.
        ("ReEncrypt", set()),
    ],
)
def test_only_what_may_well_succeed_is_tried_again(operation: str, again: set[str]) -> None:
    failures = {"throttled": _THROTTLED, "broken": _BROKEN, "lost": _LOST, "late": _LATE}
    tried = {name for name, each in failures.items() if Attempts().pause(operation, 1, each) is not None}
    assert tried == again


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize(("failure", "scale"), [(_THROTTLED, 1.0), (_BROKEN, 0.05)])
def test_no_attempt_begins_that_could_outlive_the_deadline(
    number: int, failure: Failure, scale: float
) -> None:
    longest = scale * 2 ** (number - 1)
    with context.deadline(longest + ATTEMPT_SECONDS + 0.5):
        assert Attempts(lambda: 0.1).pause("Decrypt", number, failure) is not None
    with context.deadline(longest + ATTEMPT_SECONDS - 0.01):
        assert Attempts(lambda: 0.1).pause("Decrypt", number, failure) is None


def test_a_pause_that_kms_asks_for_must_fit_into_the_deadline_too() -> None:
    failure = Failure("ThrottlingException", 400, retry_after=4.0)
    with context.deadline(10):
        assert Attempts(lambda: 0.0).pause("Decrypt", 1, failure) == 4.0
    with context.deadline(6):
        assert Attempts(lambda: 0.0).pause("Decrypt", 1, failure) is None


def test_a_region_that_fails_is_not_asked_three_times_as_often() -> None:
    """The bucket empties and fills like that of botocore."""
    ours, bucket = Attempts(), RetryQuota()
    theirs: Any = RetryQuotaChecker(bucket, ThrottlingErrorDetector(RetryEventAdapter()))
    for failure, code, status in [(_BROKEN, "500", 500), (_THROTTLED, "ThrottlingException", 400)]:
        taken = [ours.pause("Decrypt", 1, failure) is not None for _ in range(120)]
        asked = [theirs.acquire_retry_quota(_context(1, code, status, None, None)) for _ in range(120)]
        assert taken == asked
        for _ in range(40):
            ours.note_success(None)
            theirs.release_retry_quota({}, _Response(200, None))
        ours.note_success(failure)
        theirs.release_retry_quota({"retry_quota_capacity": 14 if status == 500 else 5}, _Response(200, None))
    assert ours._left == bucket.available_capacity
