"""Wallets and signatures of a kms-service: clients, sync and async, and an account that holds no key."""

from typing import TYPE_CHECKING, Any

from kms_service_client.async_client import AsyncKmsServiceClient
from kms_service_client.client import KmsServiceClient
from kms_service_client.errors import (
    InvalidRequest,
    InvalidUserId,
    KmsServiceError,
    NotAuthenticated,
    NotAuthorized,
    PolicyDenied,
    Problem,
    RateLimited,
    ServiceUnavailable,
    UnexpectedAnswer,
    Unreachable,
    WalletExists,
    WalletNotFound,
)
from kms_service_client.retrying import Retries
from kms_service_client.values import (
    BatchResult,
    ExportedKey,
    Foreseen,
    PrivateKey,
    Signature,
    SignedAuthorization,
    SignedTransaction,
    Wallet,
    WalletPage,
)

if TYPE_CHECKING:
    from kms_service_client.account import RemoteAccount

__version__ = "0.1.0"

__all__ = [
    "AsyncKmsServiceClient",
    "BatchResult",
    "ExportedKey",
    "Foreseen",
    "InvalidRequest",
    "InvalidUserId",
    "KmsServiceClient",
    "KmsServiceError",
    "NotAuthenticated",
    "NotAuthorized",
    "PolicyDenied",
    "PrivateKey",
    "Problem",
    "RateLimited",
    "RemoteAccount",
    "Retries",
    "ServiceUnavailable",
    "Signature",
    "SignedAuthorization",
    "SignedTransaction",
    "UnexpectedAnswer",
    "Unreachable",
    "Wallet",
    "WalletExists",
    "WalletNotFound",
    "WalletPage",
]


def __getattr__(name: str) -> Any:
    # eth-account is an extra, and half a second of imports that only RemoteAccount needs.
    if name == "RemoteAccount":
        from kms_service_client.account import RemoteAccount  # noqa: PLC0415 - see above

        return RemoteAccount
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
