"""Which failed requests are sent again, when, and how often: botocore's standard mode, with exceptions.

A call that timed out is not tried again: others would wait behind it. Nor is an Encrypt, except when
throttled: the pool has other keys. A ReEncrypt never is: its caller paces itself. And no attempt begins that
could outlive the request's deadline.

Source: https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html
A test compares it with botocore's own.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

from kms_service import context
from kms_service.kms.faults import THROTTLING

CONNECT_SECONDS = 1.0
READ_SECONDS = 2.0
ATTEMPT_SECONDS = CONNECT_SECONDS + READ_SECONDS
ATTEMPTS = 3
THROTTLED_SCALE_SECONDS = 1.0
TRANSIENT_SCALE_SECONDS = 0.05
MOST_ASKED_SECONDS = 5.0

_TRANSIENT_STATUS = frozenset({500, 502, 503, 504})
_TRANSIENT_CODES = frozenset({"RequestTimeout", "RequestTimeoutException"})
_CAPACITY = 500
_THROTTLED_COST = 5
_TRANSIENT_COST = 14


@dataclass(frozen=True, slots=True)
class Failure:
    """How a request failed, as far as the next attempt depends on it.

    Attributes:
        code: KMS's error code, or the transport's name for what happened.
        status: the HTTP status; None if no answer came.
        timed_out: whether it ran into a time-out, so that KMS may or may not have done it.
        retry_after: seconds that KMS asks to wait; None if it does not say.
    """

    code: str
    status: int | None
    timed_out: bool = False
    retry_after: float | None = None

    @property
    def throttled(self) -> bool:
        """Whether KMS wants fewer requests."""
        return self.code in THROTTLING or self.status == HTTPStatus.TOO_MANY_REQUESTS

    @property
    def transient(self) -> bool:
        """Whether the same request is likely to succeed in a moment."""
        lost = self.status is None and not self.timed_out
        return lost or self.status in _TRANSIENT_STATUS or self.code in _TRANSIENT_CODES


class Attempts:
    """Decides on the retries of all calls of a client, which share one retry quota.

    The quota keeps a failing Region from getting three times the requests: each retry takes from it, each
    call that succeeds gives some back.

    Args:
        chance: returns a new random number from 0 to 1 at each call.
    """

    def __init__(self, chance: Callable[[], float] = random.random) -> None:
        self._chance = chance
        self._left = _CAPACITY

    def pause(self, operation: str, number: int, failure: Failure) -> float | None:
        """Seconds to wait before the next attempt; None if there must be none.

        Args:
            operation: KMS's name for it.
            number: the number of the attempt that failed, from 1.
            failure: how it failed.
        """
        if number >= ATTEMPTS or not _is_worth_retrying(operation, failure):
            return None
        scale = THROTTLED_SCALE_SECONDS if failure.throttled else TRANSIENT_SCALE_SECONDS
        longest = scale * 2 ** (number - 1)
        pause = self._chance() * longest
        if failure.retry_after is not None:
            pause = max(pause, min(failure.retry_after, pause + MOST_ASKED_SECONDS))
        if not context.has_time_for(max(longest, pause) + ATTEMPT_SECONDS):
            return None
        return pause if self._take(_cost(failure)) else None

    def note_success(self, last: Failure | None) -> None:
        """Note that a call succeeded: give back what its last retry took, or a little if it needed none."""
        self._left = min(_CAPACITY, self._left + (1 if last is None else _cost(last)))

    def _take(self, cost: int) -> bool:
        if cost > self._left:
            return False
        self._left -= cost
        return True


def _is_worth_retrying(operation: str, failure: Failure) -> bool:
    if operation == "ReEncrypt" or failure.timed_out:
        return False
    if operation == "Encrypt":
        answered = failure.status is not None and failure.status < HTTPStatus.INTERNAL_SERVER_ERROR
        return answered and (failure.throttled or failure.transient)
    return failure.throttled or failure.transient


def _cost(failure: Failure) -> int:
    return _THROTTLED_COST if failure.throttled else _TRANSIENT_COST
