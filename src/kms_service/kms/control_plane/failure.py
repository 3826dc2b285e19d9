"""The error of KMS calls that operators ask for."""

from kms_service.errors import KmsServiceError

_DENIED = frozenset({"AccessDenied", "AccessDeniedException"})


class AdministrationFailed(KmsServiceError):
    """AWS refused or failed a call that makes or inspects a key; what earlier calls did stays done."""

    code = "kms_administration_failed"

    def __init__(self, operation: str, key: str, reason: str) -> None:
        super().__init__(f"{operation} for {key}: {reason}")
        self.operation = operation
        self.reason = reason

    @property
    def denied(self) -> bool:
        """Whether a policy denies it to these credentials."""
        return self.reason in _DENIED

    @property
    def missing(self) -> bool:
        """Whether there is no such key or alias."""
        return self.reason == "NotFoundException"

    @property
    def unsupported(self) -> bool:
        """Whether keys of this kind cannot do it at all."""
        return self.reason == "UnsupportedOperationException"
