"""The root of all errors, and those that are neither the caller's nor KMS's."""

from collections.abc import Mapping


class KmsServiceError(Exception):
    """The root of every error this service raises on purpose.

    `code` is stable and listed in the README; `kms_request_id` is the KMS call that led here and
    `audit_detail` what else its audit row tells.
    """

    code = "internal_error"
    kms_request_id: str | None = None
    audit_detail: str | None = None


class IntegrityFailure(KmsServiceError):
    """Stored bytes do not open, or open to something else: tampering or corruption.

    One message for every cause, so that an answer is no oracle. `reason` is for logs: words of this source.
    """

    code = "integrity_failure"
    message = "The stored wallet does not open."

    def __init__(self, reason: str, request_id: str | None = None) -> None:
        super().__init__(self.message)
        self.reason = reason
        self.kms_request_id = request_id


class PolicyIntegrityFailure(IntegrityFailure):
    """A policy that a token names is missing, or not as an operator wrote it: it allows nothing."""

    message = "The stored policy is missing, or not as an operator wrote it."


class TokenIntegrityFailure(IntegrityFailure):
    """A token's row is not as an operator wrote it last: it grants nothing, and no change makes it right."""

    message = (
        "The stored token is not as an operator wrote it. If it is of a version before MACs, "
        "kms-service token confirm gives it one; else revoke it and make another."
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

    Callers are told no more than that. `reason` is one line for operators, without a password; may be empty.
    """

    code = "database_unavailable"

    def __init__(self, reason: str = "") -> None:
        super().__init__("The database cannot be reached.")
        self.reason = reason


class DatabaseRefused(DatabaseUnavailable):
    """This process's login has no right to do that; nothing was written."""


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


class TimedOut(KmsServiceError):
    """The deadline passed while the work was under way: it goes on, and its outcome is unknown."""

    code = "deadline_exceeded"

    def __init__(self) -> None:
        super().__init__("The request was not served in time; whether it took place is unknown.")


class Sealed(KmsServiceError):
    """An operator has stopped all releases and signatures."""

    code = "sealed"

    def __init__(self) -> None:
        super().__init__("Releases and signatures are stopped by an operator.")
