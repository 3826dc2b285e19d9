"""Every error code of KMS, mapped once to an error of ours.

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
        "429",  # a bare status, as a proxy in front of KMS sends it: botocore makes it the code
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

# Retryable by KMS's own words, or a fault of the account's set-up that no key is to blame for.
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


# Kinds of KEY_FAULTS that callers act upon.
_KINDS: Mapping[str, type[KmsKeyUnusable]] = {
    "AccessDeniedException": KmsAccessDenied,
    "DisabledException": KmsKeyDisabled,
    "NotFoundException": KmsKeyMissing,
    "UnsupportedOperationException": KmsUnsupported,
}


def from_code(code: str, key: str, request_id: str | None) -> KmsServiceError:
    """What KMS's error code means, of a failed call on `key` (ARN or alias).

    Returns:
        KmsThrottled, KmsKeyUnusable or KmsUnavailable; IntegrityFailure when KMS says that the ciphertext is
        not what this key and context made. An error nobody foresaw counts as KmsUnavailable.
    """
    if code in INTEGRITY:
        return IntegrityFailure(code, request_id)
    if code in THROTTLING:
        return KmsThrottled(code, key, request_id)
    if code in KEY_FAULTS:
        return _KINDS.get(code, KmsKeyUnusable)(code, key, request_id)
    return KmsUnavailable(code, key, request_id)
