"""The error codes that each operation can answer, each with an example problem.

The tests check every problem that they meet against this list.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from fastapi.routing import APIRoute

from kms_service import errors
from kms_service.access.scopes import Scope
from kms_service.api import problems
from kms_service.api.openapi.examples import ADDRESS, ALIAS
from kms_service.api.security import AuthenticatedRoute
from kms_service.service.wallets.importing import AddressExists, ImportExpired

_REQUEST_ID = "0c6c7a1e5d0f4a5e9d7c1f7a3b2e4d61"
_KEY = f"alias/{ALIAS}"

_Errors = tuple[Callable[[], errors.KmsServiceError], ...]


def _kms_throttled() -> errors.KmsServiceError:
    return errors.KmsThrottled("ThrottlingException", _KEY)


def _kms_unavailable() -> errors.KmsServiceError:
    return errors.KmsUnavailable("ReadTimeoutError", _KEY)


def _key_unusable() -> errors.KmsServiceError:
    return errors.KmsKeyUnusable("DisabledException", _KEY)


def _no_usable_key() -> errors.KmsServiceError:
    return errors.NoUsableKey({_KEY: "DisabledException"})


def _integrity_failure() -> errors.KmsServiceError:
    return errors.IntegrityFailure("tag")


def _policy_denied() -> errors.KmsServiceError:
    return errors.PolicyDenied("checkout", 3, "pay-merchants", "not met: to")


def _policy_integrity_failure() -> errors.KmsServiceError:
    return errors.PolicyIntegrityFailure("row MAC")


def _rate_limited() -> errors.KmsServiceError:
    return errors.RateLimited("signatures", 12)


def _wallet_exists() -> errors.KmsServiceError:
    return errors.WalletExists(ADDRESS)


def _seal_changed_elsewhere() -> errors.KmsServiceError:
    return errors.SealChangedElsewhere("the seal was changed at the same moment; look at it first")


def _internal_error() -> errors.KmsServiceError:
    return errors.KmsServiceError("Something unexpected happened; the log has the request id.")


_ANY: _Errors = (
    errors.NotAuthenticated,
    _internal_error,
    errors.DatabaseUnavailable,
    errors.AuditUnavailable,
    errors.Overloaded,
    errors.TimedOut,
    # Any row that is read may be damaged.
    _integrity_failure,
    # Authentication answers this until the process has the keys of row MACs.
    _kms_unavailable,
)
_ASKS_KMS: _Errors = (_kms_throttled, _key_unusable, _no_usable_key)
_OPENS_A_WALLET: _Errors = (
    *_ASKS_KMS,
    errors.WalletNotFound,
    _rate_limited,
    _policy_denied,
    errors.Sealed,
)
_READS_POLICIES: _Errors = (_policy_integrity_failure,)

BY_SCOPE: Mapping[Scope, _Errors] = {
    Scope.WALLETS_CREATE: _ASKS_KMS,
    Scope.WALLETS_IMPORT: _ASKS_KMS,
    Scope.POOL_ADMIN: _ASKS_KMS,
    Scope.ROTATIONS_ADMIN: _ASKS_KMS,
    Scope.WALLETS_SIGN: _OPENS_A_WALLET,
    Scope.WALLETS_DELEGATE: _OPENS_A_WALLET,
    Scope.PRIVATE_KEYS_READ: _OPENS_A_WALLET,
    Scope.PRIVATE_KEYS_EXPORT: _OPENS_A_WALLET,
}
BY_NAME: Mapping[str, _Errors] = {
    "create_wallet": (_wallet_exists,),
    "get_wallet": (errors.WalletNotFound,),
    "complete_import": (_wallet_exists, AddressExists, ImportExpired),
    "list_policies": _READS_POLICIES,
    "get_policy": (errors.PolicyNotFound, *_READS_POLICIES),
    "get_usage": (errors.PolicyNotFound,),
    "close_seal": (_seal_changed_elsewhere,),
    "open_seal": (_seal_changed_elsewhere,),
    "put_key": (errors.KeyNotFound, errors.LastActiveKey),
    "start_rotation": (errors.RewrapJobRunning,),
    "get_rotation": (errors.RewrapJobNotFound,),
    "list_failures": (errors.RewrapJobNotFound,),
    "pause_rotation": (errors.RewrapJobNotFound, errors.RewrapJobFinished),
    "resume_rotation": (errors.RewrapJobNotFound, errors.RewrapJobFinished),
    "cancel_rotation": (errors.RewrapJobNotFound, errors.RewrapJobFinished),
}
_OF_A_BODY = (400, 408, 413, 415)


def problems_of(route: APIRoute) -> Sequence[dict[str, Any]]:
    """The problems that a route can answer, one for each code; none for routes without authentication."""
    if not isinstance(route, AuthenticatedRoute):
        return ()
    found = [
        *_make_all(_ANY),
        errors.NotAuthorized(route.scope),
        errors.InvalidRequest("is not valid", _field(route)),
    ]
    found += [*_make_all(BY_SCOPE.get(route.scope, ())), *_make_all(BY_NAME.get(route.name, ()))]
    members = [problems.problem(error) for error in found]
    if route.body_field is not None:
        members += [problems.framework_problem(status) for status in _OF_A_BODY]
    by_code = {each["code"]: {**each, "requestId": _REQUEST_ID} for each in members}
    return list(by_code.values())


def _make_all(makers: Iterable[Callable[[], errors.KmsServiceError]]) -> Iterator[errors.KmsServiceError]:
    return (make() for make in makers)


def _field(route: APIRoute) -> str:
    return "body" if route.body_field is not None else "path" if "{" in route.path else "query"
