"""Errors of a request that cannot be granted as it is; repeating it will not help."""

from kms_service.errors.service import KmsServiceError

MAX_AUDIT_DETAIL = 1024


class CallerError(KmsServiceError):
    """The request cannot be granted as it is; repeating it will not help."""


class NotAuthenticated(CallerError):
    """There is no token, or it is unknown, expired or revoked. The answer does not say which."""

    code = "not_authenticated"


class NotAuthorized(CallerError):
    """The token is valid but lacks `scope`."""

    code = "not_authorized"

    def __init__(self, scope: str) -> None:
        super().__init__(f"This token lacks the scope {scope}.")
        self.scope = scope


class RateLimited(CallerError):
    """The token's limit per minute is used up; `retry_after` is in seconds."""

    code = "rate_limited"

    def __init__(self, limit: str, retry_after: int) -> None:
        super().__init__(f"This token's limit is reached: {limit} a minute.")
        self.retry_after = retry_after


class PolicyDenied(CallerError):
    """No rule of the token's policy allows it; `rule` came nearest, None if no rule is about this action.

    `reason` holds only words of this code and of the policy, and none of the caller's.
    """

    code = "policy_denied"

    def __init__(self, policy: str, version: int, rule: str | None, reason: str) -> None:
        super().__init__(f"The policy {policy} does not allow this: {reason}.")
        self.policy = policy
        self.version = version
        self.rule = rule
        self.reason = reason
        self.audit_detail = f"{policy} {version} {rule or 'no rule'}: {reason}"[:MAX_AUDIT_DETAIL]


class MayNotUnseal(CallerError):
    """This process's login may seal but not unseal, so that whoever takes over the process cannot unseal."""

    code = "not_authorized"

    def __init__(self) -> None:
        super().__init__("This process may not unseal; an operator does, with: kms-service unseal")


class InvalidRequest(CallerError):
    """The request breaks a rule that the schema cannot express; `field` names the field, never its value."""

    code = "invalid_request"

    def __init__(self, message: str, field: str) -> None:
        super().__init__(message)
        self.field = field


class WalletExists(CallerError):
    """The user already has a wallet."""

    code = "wallet_exists"

    def __init__(self, wallet_address: str) -> None:
        super().__init__("This user already has a wallet.")
        self.wallet_address = wallet_address


class NotFound(CallerError):
    """What the request names does not exist."""

    code = "not_found"


class WalletNotFound(NotFound):
    """The user has no wallet."""

    code = "wallet_not_found"

    def __init__(self) -> None:
        super().__init__("This user has no wallet.")


class KeyNotFound(NotFound):
    """No key of the pool has this alias."""

    code = "key_not_found"

    def __init__(self) -> None:
        super().__init__("No key of the pool has this alias.")


class TokenNotFound(NotFound):
    """No token has this name."""

    code = "token_not_found"


class PolicyNotFound(NotFound):
    """No policy has this name, or it has no such version."""

    code = "policy_not_found"

    def __init__(self) -> None:
        super().__init__("There is no such policy or version.")


class LastActiveKey(CallerError):
    """Draining this key would leave none that takes new wallets."""

    code = "last_active_key"

    def __init__(self) -> None:
        super().__init__("No other key of the pool is active and usable, so this one cannot be drained.")


class TokenExists(CallerError):
    """A token with this name exists already."""

    code = "token_exists"


class TokenChangedElsewhere(CallerError):
    """Somebody else changed this token at the same moment."""

    code = "token_changed_elsewhere"


class SealChangedElsewhere(CallerError):
    """Somebody else changed the seal at the same moment."""

    code = "seal_changed_elsewhere"


class PolicySetElsewhere(CallerError):
    """Somebody else set a version of this policy at the same moment."""

    code = "policy_set_elsewhere"


class RewrapJobNotFound(NotFound):
    """No rotation has this id."""

    code = "rotation_not_found"


class RewrapJobRunning(CallerError):
    """Another rotation is pending, running or paused."""

    code = "rotation_running"


class RewrapJobFinished(CallerError):
    """The rotation has ended, so it cannot be paused, resumed or cancelled."""

    code = "rotation_finished"
