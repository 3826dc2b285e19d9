"""Everything that can go wrong, by whose fault it is; knows nothing of HTTP.

KmsServiceError
├── StartupError                  the process must not serve
│   ├── SettingsError             a variable is missing or wrong
│   ├── SchemaBehind              the database lacks a migration
│   ├── MigrationFailed           a migration did not go through
│   └── NoKeyAtStart              no key of the pool can be used
├── CallerError                   the request cannot be granted as it is
│   ├── NotAuthenticated          no token, or one that is unknown, expired or revoked
│   ├── NotAuthorized             a good token without the scope
│   ├── RateLimited               too many of these within a minute
│   ├── InvalidRequest            a rule that the schema cannot express is broken
│   ├── WalletExists
│   ├── NotFound
│   │   ├── WalletNotFound
│   │   ├── KeyNotFound           no key of the pool has this alias
│   │   ├── TokenNotFound
│   │   └── RotationNotFound
│   ├── LastActiveKey             draining it would leave no key for new wallets
│   ├── TokenExists
│   ├── RotationRunning           one rotation at a time
│   └── RotationFinished
├── IntegrityFailure              stored bytes do not open, or open to something else
├── KmsError                      a KMS call failed
│   ├── KmsThrottled              the account's quota: no key is to blame
│   ├── KmsUnavailable            time-out, reset, 5xx, garbage: the outcome is unknown
│   └── KmsKeyUnusable            disabled, denied, deleted: this key, until someone mends it
├── NoUsableKey                   no key of the pool would wrap a new DEK
├── DatabaseUnavailable           PostgreSQL did not answer: the outcome is unknown
├── AuditUnavailable              the audit row could not be committed, so nothing was released
├── Overloaded                    more requests in flight than the process takes
│   └── TimedOut                  no answer within the request's deadline
└── Sealed                        an operator stopped all releases and signatures
"""

from collections.abc import Mapping, Sequence


class KmsServiceError(Exception):
    """The root of every error this service raises on purpose.

    `code` is stable and listed in the README; `kms_request_id` is the KMS call that led here, for audit.
    """

    code = "internal_error"
    kms_request_id: str | None = None


class StartupError(KmsServiceError):
    """The process must not serve. `exit_code` follows sysexits.h."""

    exit_code = 70


class SettingsError(StartupError):
    """One or more settings are missing or wrong; the message lists all `problems`, without values."""

    code = "settings"
    exit_code = 78

    def __init__(self, problems: Sequence[str], advice: str) -> None:
        lines = "".join(f"\n  {problem}" for problem in problems)
        super().__init__(f"cannot start, these settings need attention:{lines}\n{advice}")
        self.problems = tuple(problems)


class SchemaBehind(StartupError):
    """The database schema is not the one this code was written for; the message names the remedy."""

    code = "schema_behind"
    exit_code = 78


class MigrationFailed(StartupError):
    """A migration did not go through; the database is as it was before it."""

    code = "migration_failed"
    exit_code = 75


class NoKeyAtStart(StartupError):
    """No key of the pool can be used; the message has one line a key."""

    code = "no_usable_key"
    exit_code = 69


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


class IntegrityFailure(KmsServiceError):
    """Stored bytes do not open, or open to something else: tampering or corruption.

    One message for every cause, so that an answer is no oracle. `reason` is for logs: words of this source.
    """

    code = "integrity_failure"

    def __init__(self, reason: str, request_id: str | None = None) -> None:
        super().__init__("The stored wallet does not open.")
        self.reason = reason
        self.kms_request_id = request_id


class KmsError(KmsServiceError):
    """A KMS call failed. `reason` is KMS's error code or a transport fault's name, `key` an ARN or alias."""

    message = "AWS KMS did not serve the call."

    def __init__(self, reason: str, key: str, request_id: str | None = None) -> None:
        super().__init__(self.message)
        self.reason = reason
        self.key = key
        self.kms_request_id = request_id


class KmsThrottled(KmsError):
    """KMS throttles the account; another key would not help, waiting does."""

    code = "kms_throttled"
    message = "AWS KMS is throttling this account."


class KmsUnavailable(KmsError):
    """KMS did not answer, or not in a way that can be trusted; repeating may help."""

    code = "kms_unavailable"
    message = "AWS KMS cannot be reached."


class KmsKeyUnusable(KmsError):
    """KMS refuses this key: disabled, denied, deleted or pending deletion."""

    code = "kms_key_unusable"
    message = "AWS KMS refuses the key of this wallet."


class NoUsableKey(KmsServiceError):
    """No key of the pool would wrap a new DEK; `reasons` maps the alias of each key to its reason."""

    code = "no_usable_key"

    def __init__(self, reasons: Mapping[str, str]) -> None:
        listed = "; ".join(f"{key}: {reason}" for key, reason in sorted(reasons.items()))
        super().__init__(f"No key of the pool can be used: {listed}")
        self.reasons = dict(reasons)


class DatabaseUnavailable(KmsServiceError):
    """PostgreSQL did not answer; whether a write took place is unknown."""

    code = "database_unavailable"

    def __init__(self) -> None:
        super().__init__("The database cannot be reached.")


class AuditUnavailable(KmsServiceError):
    """The audit row could not be committed, so nothing was released."""

    code = "audit_unavailable"

    def __init__(self) -> None:
        super().__init__("The audit log cannot be written, so nothing was released.")


class Overloaded(KmsServiceError):
    """More requests are in flight than this process takes."""

    code = "overloaded"

    def __init__(self) -> None:
        super().__init__("Too many requests are in flight.")


class TimedOut(Overloaded):
    """The deadline passed while work was waiting or under way; whether it took place is unknown."""

    def __init__(self) -> None:
        KmsServiceError.__init__(self, "The request could not be served in time.")


class Sealed(KmsServiceError):
    """An operator has stopped all releases and signatures."""

    code = "sealed"

    def __init__(self) -> None:
        super().__init__("Releases and signatures are stopped by an operator.")
