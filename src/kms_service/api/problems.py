"""Every error as an RFC 9457 problem: status, title and code, and never what the caller sent."""

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from kms_service import context, errors
from kms_service.service.wallets.importing import AddressExists, ImportExpired
from kms_service.telemetry import metrics

MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = 2

# Error class -> status and title. A class that is not listed answers as its nearest listed ancestor.
ANSWERS: Mapping[type[errors.KmsServiceError], tuple[int, str]] = {
    errors.KmsServiceError: (500, "Internal error"),
    errors.IntegrityFailure: (500, "Integrity failure"),
    errors.NotAuthenticated: (401, "Not authenticated"),
    errors.NotAuthorized: (403, "Not authorized"),
    errors.MayNotUnseal: (403, "Not authorized"),
    errors.RateLimited: (429, "Rate limited"),
    errors.PolicyDenied: (403, "Policy denied"),
    errors.InvalidRequest: (422, "Invalid request"),
    errors.WalletExists: (409, "Wallet exists"),
    AddressExists: (409, "Address exists"),
    ImportExpired: (410, "Import expired"),
    errors.LastActiveKey: (409, "Last active key"),
    errors.TokenExists: (409, "Token exists"),
    errors.PolicySetElsewhere: (409, "Policy set elsewhere"),
    errors.TokenChangedElsewhere: (409, "Token changed elsewhere"),
    errors.SealChangedElsewhere: (409, "Seal changed elsewhere"),
    errors.RewrapJobRunning: (409, "Rotation running"),
    errors.RewrapJobFinished: (409, "Rotation finished"),
    errors.NotFound: (404, "Not found"),
    errors.KmsThrottled: (503, "KMS throttled"),
    errors.KmsUnavailable: (503, "KMS unavailable"),
    errors.KmsKeyUnusable: (503, "KMS key unusable"),
    errors.NoUsableKey: (503, "No usable key"),
    errors.DatabaseUnavailable: (503, "Database unavailable"),
    errors.AuditUnavailable: (503, "Audit unavailable"),
    errors.Overloaded: (503, "Overloaded"),
    errors.TimedOut: (503, "Deadline exceeded"),
    errors.Sealed: (503, "Sealed"),
}

# What FastAPI and Starlette raise themselves, by status.
_FRAMEWORK: Mapping[int, tuple[str, str]] = {
    400: ("invalid_json", "The request body is not valid JSON."),
    404: ("not_found", "There is no such route."),
    405: ("method_not_allowed", "This route does not allow this method."),
    408: ("request_timeout", "The request's body did not arrive in time."),
    413: ("payload_too_large", "A request body may have at most 64 KiB."),
    415: ("unsupported_media_type", "A request body must be application/json."),
}

# What a connection refuses before there is a request, by code.
_REFUSED: Mapping[str, tuple[int, str]] = {
    "malformed_request": (400, "This is not HTTP/1.1 with one Host header."),
    "headers_too_large": (431, "A request's head may have at most 32 KiB and 100 headers."),
}

# Messages of these pydantic types contain only text from our code; others could quote the input.
_SAFE_MESSAGES = frozenset(
    {
        "bool_type", "dict_type", "extra_forbidden", "greater_than_equal", "int_type", "less_than_equal",
        "list_type", "literal_error", "missing", "string_pattern_mismatch", "string_too_long",
        "string_too_short", "string_type", "too_long", "too_short", "value_error",
    }
)  # fmt: skip
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,39}", re.ASCII)


def problem(error: errors.KmsServiceError) -> dict[str, Any]:
    """The members of the problem for an error, without the request id."""
    status, title = _answer(type(error))
    members = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": str(error) or title,
        "code": error.code,
    }
    if isinstance(error, errors.WalletExists):
        members["walletAddress"] = error.wallet_address
    if isinstance(error, errors.PolicyDenied):
        members |= {"policy": error.policy, "version": error.version, "rule": error.rule}
    if isinstance(error, errors.InvalidRequest):
        members["detail"] = f"{error.field}: {error}"
        members["errors"] = [{"field": error.field, "message": str(error)}]
    return members


def response(error: errors.KmsServiceError) -> JSONResponse:
    """The complete HTTP answer to an error, with its headers."""
    members = problem(error)
    headers = {}
    if isinstance(error, errors.NotAuthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, errors.RateLimited):
        headers["Retry-After"] = str(error.retry_after)
    elif members["status"] == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = str(RETRY_SECONDS)
    return _respond(members, headers)


def unexpected_error() -> JSONResponse:
    """The answer to an unforeseen error; the log has its type and place."""
    return response(errors.KmsServiceError("Something unexpected happened; the log has the request id."))


def framework(status: int, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The answer to a request that the framework itself refuses."""
    return _respond(framework_problem(status), headers or {})


def framework_problem(status: int) -> dict[str, Any]:
    """The members of the problem for a status that the framework raises, without the request id."""
    code, detail = _FRAMEWORK.get(status, ("invalid_request", "The request cannot be understood."))
    return _problem_of_code(status, code, detail)


def refusal(code: str) -> JSONResponse:
    """The answer of a connection that refuses before there is a request."""
    status, detail = _REFUSED[code]
    return _respond(_problem_of_code(status, code, detail), {})


def install(app: FastAPI) -> None:
    """Answer every error of the application with a problem."""
    app.add_exception_handler(errors.KmsServiceError, _on_ours)
    app.add_exception_handler(RequestValidationError, _on_validation)
    app.add_exception_handler(HTTPException, _on_framework)


async def _on_ours(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, errors.KmsServiceError)  # noqa: S101 # narrows what Starlette's type cannot say
    return response(error)


async def _on_framework(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 # as above
    return framework(error.status_code, error.headers)


async def _on_validation(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 # as above
    details = error.errors()
    if any(detail["type"] == "json_invalid" for detail in details):
        return framework(HTTPStatus.BAD_REQUEST)
    fields = [{"field": _field(detail["loc"]), "message": _message(detail)} for detail in details[:20]]
    return _respond(
        {
            "type": "about:blank",
            "title": "Invalid request",
            "status": 422,
            "detail": "; ".join(f"{field['field']}: {field['message']}" for field in fields),
            "code": "invalid_request",
            "errors": fields,
        },
        {},
    )


def _problem_of_code(status: int, code: str, detail: str) -> dict[str, Any]:
    title = code.replace("_", " ").capitalize().replace("json", "JSON")
    return {"type": "about:blank", "title": title, "status": status, "detail": detail, "code": code}


def _answer(error: type[errors.KmsServiceError]) -> tuple[int, str]:
    return next(ANSWERS[ancestor] for ancestor in error.__mro__ if ancestor in ANSWERS)


def _field(location: Sequence[str | int]) -> str:
    # Member names come from the caller too: one that is not a plain name is not repeated.
    names = (
        str(part) if isinstance(part, int) or _NAME.fullmatch(part) else "(unnamed)" for part in location
    )
    return ".".join(names)


def _message(detail: Mapping[str, Any]) -> str:
    if detail["type"] not in _SAFE_MESSAGES:
        return "is not valid"
    return str(detail["msg"]).removeprefix("Value error, ")


def _respond(members: dict[str, Any], headers: Mapping[str, str]) -> JSONResponse:
    metrics.http_problems.labels(members["code"]).inc()
    content = {**members, "requestId": context.request_id.get()}
    return JSONResponse(content, members["status"], dict(headers), media_type=MEDIA_TYPE)
