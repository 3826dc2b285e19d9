"""Which failures a call may be repeated after, and how long to wait before. No I/O, no clock."""

import random
from dataclasses import dataclass
from enum import Enum, auto

import httpx

from kms_service_client.errors import KmsServiceError, Problem, Unreachable

# An operator has to act: asking again within seconds only costs time.
_LASTING = frozenset({"kms_key_unusable", "no_usable_key", "sealed"})
# The service says so before it does anything.
_BEFORE_ANY_EFFECT = frozenset({"rate_limited", "overloaded", "kms_throttled", "kms_unavailable"})
_FIRST_WAIT = 0.1


class Repeatable(Enum):
    """What sending the same call again does."""

    ALWAYS = auto()
    """The same as the first time: reads, `ensure_wallet`, and signatures, which are deterministic."""

    IF_NOTHING_HAPPENED = auto()
    """Something else: a create that succeeded answers `wallet_exists` the second time."""


@dataclass(frozen=True, slots=True)
class Retries:
    """How often a call is repeated, and how long it may wait in all, in seconds.

    Args:
        attempts: maximum number of times that a call is sent, including the first; 1 repeats nothing.
        patience: maximum seconds of waiting, over all attempts of a call. A longer `Retry-After` is not
            waited for: the problem is raised at once.
    """

    attempts: int = 4
    patience: float = 15.0

    def wait(
        self, error: KmsServiceError, repeatable: Repeatable, attempt: int, waited: float
    ) -> float | None:
        """Seconds to wait before the call may be sent again; None if it may not.

        Args:
            error: how the attempt failed.
            repeatable: what sending it again would do.
            attempt: how many there were, including this one.
            waited: seconds waited for this call so far.
        """
        if attempt >= self.attempts or not _may_help(error, repeatable):
            return None
        wait = getattr(error, "retry_after", None)
        if wait is None:
            # Spread, so that callers who failed together do not retry together.
            wait = _FIRST_WAIT * 2**attempt * random.uniform(0.5, 1)  # noqa: S311 - no secret
        return wait if waited + wait <= self.patience else None


def _may_help(error: KmsServiceError, repeatable: Repeatable) -> bool:
    if isinstance(error, Problem):
        if repeatable is Repeatable.IF_NOTHING_HAPPENED:
            return error.code in _BEFORE_ANY_EFFECT
        return error.status in {429, 503} and error.code not in _LASTING
    if isinstance(error, Unreachable):
        never_sent = isinstance(
            error.__cause__, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout
        )
        return never_sent or repeatable is Repeatable.ALWAYS
    return False
