"""Errors of a request that cannot be granted as it is; repeating it will not help."""

from kms_service.errors.service import KmsServiceError


class CallerError(KmsServiceError):
    """The request cannot be granted as it is; repeating it will not help."""


class NotAuthenticated(CallerError):
    """There is no token, or it is unknown, expired or revoked. Which of these is not said."""

    code = "not_authenticated"


class NotAuthorized(CallerError):
    """The token is good and lacks `scope`."""

    code = "not_authorized"

    def __init__(self, scope: str) -> None:
        super().__init__(f"This token lacks the scope {scope}.")
        self.scope = scope


class RateLimited(CallerError):
    """The token's limit a minute is used up; `retry_after` is in seconds."""

    code = "rate_limited"

    def __init__(self, limit: str, retry_after: int) -> None:
        super().__init__(f"This token's limit is reached: {limit} a minute.")
        self.retry_after = retry_after


class InvalidRequest(CallerError):
    """The request breaks a rule the schema cannot express; the message names the field, never its value."""

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
    """The thing named in the request does not exist."""

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


class LastActiveKey(CallerError):
    """Draining this key would leave none that takes new wallets."""

    code = "last_active_key"

    def __init__(self) -> None:
        super().__init__("No other key of the pool is active and usable, so this one cannot be drained.")


class TokenExists(CallerError):
    """A token of this name exists already."""

    code = "token_exists"


class RotationNotFound(NotFound):
    """No rotation has this id."""

    code = "rotation_not_found"


class RotationRunning(CallerError):
    """Another rotation is pending, running or paused."""

    code = "rotation_running"


class RotationFinished(CallerError):
    """The rotation has ended, so it can be neither paused nor resumed nor cancelled."""

    code = "rotation_finished"
