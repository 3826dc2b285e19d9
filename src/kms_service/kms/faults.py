"""Maps every error code of KMS to an error of ours.

Source: the errors of KMS's service model, and the errors common to all AWS APIs
(https://docs.aws.amazon.com/kms/latest/APIReference/CommonErrors.html). A test enumerates the model.
"""

from collections.abc import Mapping

from kms_service.errors import (
    IntegrityFailure,
    KmsKeyUnusable,
    KmsServiceError,
    KmsThrottled,
    KmsUnavailable,
)
from kms_service.kms.errors import KmsAccessDenied, KmsKeyDisabled, KmsKeyMissing, KmsUnsupported

INTEGRITY = frozenset({"InvalidCiphertextException", "IncorrectKeyException"})

THROTTLING = frozenset(
    {
        "BandwidthLimitExceeded",
        "EC2ThrottledException",
        "LimitExceededException",
        "PriorRequestNotComplete",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "TooManyRequestsException",
        "TransactionInProgressException",
        "429",  # a bare status, as from a proxy in front of KMS: botocore takes it as the code
    }
)

KEY_FAULTS = frozenset(
    {
        "AccessDeniedException",
        "DisabledException",
        "InvalidArnException",
        "InvalidGrantIdException",
        "InvalidGrantTokenException",
        "InvalidKeyUsageException",
        "KMSInvalidStateException",
        "NotFoundException",
        "UnsupportedOperationException",
        "XksKeyAlreadyInUseException",
        "XksKeyInvalidConfigurationException",
        "XksKeyNotFoundException",
    }
)

# Retryable as KMS says, or a fault in the account's set-up for which no key is to blame.
UNAVAILABLE = frozenset(
    {
        "AlreadyExistsException",
        "CloudHsmClusterInUseException",
        "CloudHsmClusterInvalidConfigurationException",
        "CloudHsmClusterNotActiveException",
        "CloudHsmClusterNotFoundException",
        "CloudHsmClusterNotRelatedException",
        "ConflictException",
        "CustomKeyStoreHasCMKsException",
        "CustomKeyStoreInvalidStateException",
        "CustomKeyStoreNameInUseException",
        "CustomKeyStoreNotFoundException",
        "DependencyTimeoutException",
        "DryRunOperationException",
        "ExpiredImportTokenException",
        "ExpiredTokenException",
        "IncompleteSignature",
        "IncorrectKeyMaterialException",
        "IncorrectTrustAnchorException",
        "InvalidAliasNameException",
        "InvalidImportTokenException",
        "InvalidMarkerException",
        "InvalidSignatureException",
        "KMSInternalException",
        "KMSInvalidMacException",
        "KMSInvalidSignatureException",
        "KeyUnavailableException",
        "MalformedPolicyDocumentException",
        "MissingAuthenticationToken",
        "OptInRequired",
        "RequestExpired",
        "ServiceUnavailable",
        "TagException",
        "UnrecognizedClientException",
        "ValidationException",
        "XksProxyIncorrectAuthenticationCredentialException",
        "XksProxyInvalidConfigurationException",
        "XksProxyInvalidResponseException",
        "XksProxyUriEndpointInUseException",
        "XksProxyUriInUseException",
        "XksProxyUriUnreachableException",
        "XksProxyVpcEndpointServiceInUseException",
        "XksProxyVpcEndpointServiceInvalidConfigurationException",
        "XksProxyVpcEndpointServiceNotFoundException",
    }
)


# The KEY_FAULTS that callers treat differently.
_KINDS: Mapping[str, type[KmsKeyUnusable]] = {
    "AccessDeniedException": KmsAccessDenied,
    "DisabledException": KmsKeyDisabled,
    "NotFoundException": KmsKeyMissing,
    "UnsupportedOperationException": KmsUnsupported,
}


def from_code(code: str, key: str, request_id: str | None) -> KmsServiceError:
    """The error of ours for KMS's error code in a failed call on `key` (ARN or alias).

    Returns:
        KmsThrottled, KmsKeyUnusable or KmsUnavailable; IntegrityFailure if KMS says that the ciphertext was
        not made with this key and context. An unknown code counts as KmsUnavailable.
    """
    if code in INTEGRITY:
        return IntegrityFailure(code, request_id)
    if code in THROTTLING:
        return KmsThrottled(code, key, request_id)
    if code in KEY_FAULTS:
        return _KINDS.get(code, KmsKeyUnusable)(code, key, request_id)
    return KmsUnavailable(code, key, request_id)
