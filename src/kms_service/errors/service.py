"""The root of all errors, and those that are neither the caller's fault nor KMS's."""

from collections.abc import Mapping


class KmsServiceError(Exception):
    """The root of every error that this service raises on purpose.

    `code` is stable and documented for callers. `kms_request_id` is that of the KMS call that failed, if
    there was one; `audit_detail` is what else the error's audit row must say.
    """

    code = "internal_error"
    kms_request_id: str | None = None
    audit_detail: str | None = None


class IntegrityFailure(KmsServiceError):
    """Stored bytes do not open, or open to something else: tampering or corruption.

    Every cause has the same message, so that an answer is no oracle. `reason` is for logs, in our own words.
    """

    code = "integrity_failure"
    message = "The stored wallet does not open."

    def __init__(self, reason: str, request_id: str | None = None) -> None:
        super().__init__(self.message)
        self.reason = reason
        self.kms_request_id = request_id


class PolicyIntegrityFailure(IntegrityFailure):
    """The policy that a token names is missing, or not as an operator wrote it: it allows nothing."""

    message = "The stored policy is missing, or not as an operator wrote it."


class TokenIntegrityFailure(IntegrityFailure):
    """A token's row is not as an operator wrote it last: it grants nothing, and cannot be changed."""

    message = (
        "The stored token is not as an operator wrote it. If it is from a version without MACs, run "
        "kms-service token confirm; otherwise revoke it and create another."
    )


class NoUsableKey(KmsServiceError):
    """No key of the pool would wrap a new DEK; `reasons` maps the alias of each key to its reason."""

    code = "no_usable_key"

    def __init__(self, reasons: Mapping[str, str]) -> None:
        listed = "; ".join(f"{key}: {reason}" for key, reason in sorted(reasons.items()))
        if len(reasons) > 1 and len(set(reasons.values())) == 1:
            listed = f"all {len(reasons)}: {next(iter(reasons.values()))}"
        super().__init__(f"No key of the pool can be used: {listed}")
        self.reasons = dict(reasons)


class DatabaseUnavailable(KmsServiceError):
    """PostgreSQL did not answer; whether a write took place is unknown.

    Callers learn no more than that. `reason` is one line for operators, without a password; it may be empty.
    """

    code = "database_unavailable"

    def __init__(self, reason: str = "") -> None:
        super().__init__("The database cannot be reached.")
        self.reason = reason


class DatabaseRefused(DatabaseUnavailable):
    """This process's login has no right to do this; nothing was written."""


class AuditUnavailable(KmsServiceError):
    """The audit row could not be committed, so nothing was released."""

    code = "audit_unavailable"

    def __init__(self) -> None:
        super().__init__("The audit log cannot be written, so nothing was released.")


class Overloaded(KmsServiceError):
    """More requests are in flight than this process allows; nothing was begun."""

    code = "overloaded"

    def __init__(self) -> None:
        super().__init__("Too many requests are in flight.")


class TimedOut(KmsServiceError):
    """The deadline passed while the work was under way; it continues, and its outcome is unknown."""

    code = "deadline_exceeded"

    def __init__(self) -> None:
        super().__init__("The request was not answered in time; whether it took effect is unknown.")


class Sealed(KmsServiceError):
    """An operator has stopped all releases and signatures."""

    code = "sealed"

    def __init__(self) -> None:
        super().__init__("Releases and signatures are stopped by an operator.")
