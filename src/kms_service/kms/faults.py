"""Every way botocore reports a failed KMS call, mapped once to an error of ours.

Source: the errors of KMS's service model, and the errors common to all AWS APIs
(https://docs.aws.amazon.com/kms/latest/APIReference/CommonErrors.html). A test enumerates the model.
"""

from botocore.exceptions import BotoCoreError, ClientError

from kms_service.errors import (
    IntegrityFailure,
    KmsKeyUnusable,
    KmsServiceError,
    KmsThrottled,
    KmsUnavailable,
)

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


def from_botocore(error: BotoCoreError | ClientError, key: str) -> KmsServiceError:
    """What a failed call on `key` (ARN or alias) means.

    Returns:
        KmsThrottled, KmsKeyUnusable or KmsUnavailable; IntegrityFailure when KMS says that the ciphertext is
        not what this key and context made. An error nobody foresaw counts as KmsUnavailable.
    """
    if not isinstance(error, ClientError):
        return KmsUnavailable(type(error).__name__, key)
    code = str(error.response.get("Error", {}).get("Code", "Unknown"))
    request_id = error.response.get("ResponseMetadata", {}).get("RequestId")
    if code in INTEGRITY:
        return IntegrityFailure(code, request_id)
    if code in THROTTLING:
        return KmsThrottled(code, key, request_id)
    if code in KEY_FAULTS:
        return KmsKeyUnusable(code, key, request_id)
    return KmsUnavailable(code, key, request_id)
