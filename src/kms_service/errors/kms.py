"""Errors of KMS calls."""

from kms_service.errors.service import KmsServiceError


class KmsError(KmsServiceError):
    """A KMS call failed. `reason` is KMS's error code or a transport fault's name; `key` an ARN or alias."""

    message = "AWS KMS did not serve the call."

    def __init__(self, reason: str, key: str, request_id: str | None = None) -> None:
        super().__init__(self.message)
        self.reason = reason
        self.key = key
        self.kms_request_id = request_id


class KmsThrottled(KmsError):
    """KMS is throttling the account; waiting helps, another key does not."""

    code = "kms_throttled"
    message = "AWS KMS is throttling this account."


class KmsUnavailable(KmsError):
    """KMS did not answer, or its answer cannot be trusted; repeating the call may help."""

    code = "kms_unavailable"
    message = "AWS KMS cannot be reached."


class KmsKeyUnusable(KmsError):
    """KMS refuses this key: disabled, denied, deleted or pending deletion."""

    code = "kms_key_unusable"
    message = "AWS KMS refuses the key of this wallet."
