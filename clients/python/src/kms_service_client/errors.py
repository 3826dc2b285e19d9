"""What can go wrong with a call, as exceptions. None holds a token, a key or what was to be signed."""

from collections.abc import Mapping, Sequence
from typing import Any


class KmsServiceError(Exception):
    """Any failure of a call to the service."""


class InvalidUserId(KmsServiceError, ValueError):
    """No wallet can have this user id: ids are 1 to 128 of `A-Z a-z 0-9 . _ : @ -`, and not `.` or `..`."""


class Unreachable(KmsServiceError):
    """No answer came: whether the call took effect is unknown, unless the connection was refused."""


class UnexpectedAnswer(KmsServiceError):
    """The answer is not one of this service, in a version that the client knows; `status` is HTTP's."""

    def __init__(self, status: int, request_id: str | None) -> None:
        super().__init__(f"HTTP {status} with content that is not the service's (request {request_id})")
        self.status = status
        self.request_id = request_id


class Problem(KmsServiceError):
    """The service refused or failed the call and says why (RFC 9457).

    Attributes:
        status: HTTP's.
        code: the stable name to decide by, such as `wallet_exists`.
        title, detail: for people.
        request_id: as in the service's log and audit rows, for questions to its operators.
        members: all members of the problem, including the additional ones of some codes.
        retry_after: seconds to wait, where the service says so.
    """

    def __init__(self, members: Mapping[str, Any], retry_after: float | None) -> None:
        self.members = dict(members)
        self.status: int = members["status"]
        self.code: str = members["code"]
        self.title: str = members["title"]
        self.detail: str = members["detail"]
        self.request_id: str | None = members.get("requestId")
        self.retry_after = retry_after
        super().__init__(f"{self.code}: {self.detail} (HTTP {self.status}, request {self.request_id})")

    @staticmethod
    def read(members: Mapping[str, Any], retry_after: float | None) -> "Problem":
        """The problem, in its code's own class if there is one.

        Raises:
            KeyError, TypeError: it is not a problem of this service.
        """
        kind = _BY_CODE.get(members["code"], ServiceUnavailable if members["status"] == _BUSY else Problem)
        return kind(members, retry_after)


class NotAuthenticated(Problem):
    """No token, or one that is unknown, expired or revoked."""


class NotAuthorized(Problem):
    """The token lacks the scope that `detail` names."""


class PolicyDenied(Problem):
    """The token's policy does not allow this."""

    @property
    def policy(self) -> str:
        """The policy's name."""
        name: str = self.members["policy"]
        return name

    @property
    def rule(self) -> str | None:
        """The rule that came nearest, if any did."""
        rule: str | None = self.members["rule"]
        return rule


class WalletExists(Problem):
    """The user has a wallet already."""

    @property
    def wallet_address(self) -> str:
        """Its address, EIP-55."""
        address: str = self.members["walletAddress"]
        return address


class WalletNotFound(Problem):
    """The user has no wallet."""


class InvalidRequest(Problem):
    """The service does not take these values; it names the fields and repeats no value."""

    @property
    def errors(self) -> Sequence[Mapping[str, str]]:
        """`field` and `message` of each."""
        errors: Sequence[Mapping[str, str]] = self.members.get("errors", ())
        return errors


class RateLimited(Problem):
    """The token's limit per minute is used up; `retry_after` says how long to wait."""


class ServiceUnavailable(Problem):
    """The service cannot serve this now (503, any code); a create may still have happened."""


_BUSY = 503
_BY_CODE: Mapping[str, type[Problem]] = {
    "not_authenticated": NotAuthenticated,
    "not_authorized": NotAuthorized,
    "policy_denied": PolicyDenied,
    "wallet_exists": WalletExists,
    "wallet_not_found": WalletNotFound,
    "invalid_request": InvalidRequest,
    "rate_limited": RateLimited,
}
