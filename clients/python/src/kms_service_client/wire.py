"""From a call to HTTP and back, for both clients. No I/O."""

from typing import Any, TypeVar

import httpx

from kms_service_client.calls import Call
from kms_service_client.errors import Problem, UnexpectedAnswer

T = TypeVar("T")
_LONGEST_IDLE_SECONDS = 30.0
_PROBLEM = "application/problem+json"
_USER_AGENT = "kms-service-client-python"


def connection_settings(base_url: str, token: str, timeout: float) -> dict[str, Any]:
    """The arguments that both of httpx's clients get: address, headers and time-out."""
    return {
        "base_url": base_url,
        "headers": {
            "Authorization": f"Bearer {token}",
            "Accept": f"application/json, {_PROBLEM}",
            "User-Agent": _USER_AGENT,
        },
        "timeout": timeout,
    }


def connection_limits() -> httpx.Limits:
    """Any number of connections at once, each kept until it has been idle for half a minute.

    That is less than the service keeps an idle one, so a call seldom meets a connection that is being closed.
    """
    return httpx.Limits(
        max_connections=None, max_keepalive_connections=None, keepalive_expiry=_LONGEST_IDLE_SECONDS
    )


def request_of(call: Call[Any]) -> dict[str, Any]:
    """The arguments of httpx's `request`."""
    return {"method": call.method, "url": call.path, "json": call.body, "params": call.query}


def read(call: Call[T], response: httpx.Response) -> T:
    """The answer to a call.

    Raises:
        Problem: the service refused or failed the call.
        UnexpectedAnswer: something else answered, or a version that this client does not know.
    """
    content = _json(response)
    if response.is_success:
        try:
            return call.read(content)
        except (KeyError, TypeError, ValueError):
            # From None: the answer may hold a key.
            raise _unexpected_answer(response) from None
    try:
        problem = Problem.read(content, _retry_after(response))
    except (KeyError, TypeError):
        raise _unexpected_answer(response) from None
    raise problem


def _json(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        raise _unexpected_answer(response) from None


def _retry_after(response: httpx.Response) -> float | None:
    seconds = response.headers.get("Retry-After", "")
    return float(seconds) if seconds.isascii() and seconds.isdigit() else None


def _unexpected_answer(response: httpx.Response) -> UnexpectedAnswer:
    return UnexpectedAnswer(response.status_code, response.headers.get("X-Request-Id"))
