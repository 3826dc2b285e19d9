"""Every value from outside, at and past its bounds: refused or accepted, never a 5xx."""

import copy
import json
from collections.abc import Callable, Iterator
from contextlib import closing
from http.client import HTTPConnection
from typing import Any
from urllib.parse import quote

import pytest

from calling import Service

TIMES = [
    "0001-01-01T00:00:00Z",
    "0001-01-01T00:00:00+23:59",
    "0001-01-01T00:00:00-23:59",
    "1969-12-31T23:59:59Z",
    "9999-12-31T23:59:59.999999Z",
    "9999-12-31T23:59:59-23:59",
    "9000-01-01T00:00:00Z",
    "2026-02-30T00:00:00Z",
    "2026-01-01T00:00:00",
    "-1",
    "1e18",
    "-62135596800",
    "99999999999999999",
]
NUMBERS = [0, -1, 1 << 31, 1 << 53, 1 << 63, 1 << 64, 10**400, 0.1, 1e308, -1e308, 5e-324]
TEXTS = [
    "",
    " ",
    "\x00",
    "a\x00b",
    "\x1b[2J",
    "\u202e",
    "\ud800",
    "\uffff",
    "😀" * 40,
    "x" * 5000,
    "../..",
    "%00",
    "0x",
    "'",
]
OTHERS: list[Any] = [None, True, [], {}, [[]], {"": ""}]
# json.dumps writes these as the words that its own parser takes, and JSON does not have.
WORDS = [float("nan"), float("inf")]
VALUES = [*TIMES, *NUMBERS, *TEXTS, *OTHERS, *WORDS]


@pytest.fixture(scope="module")
def document(service: Service) -> dict[str, Any]:
    service.create("alice")
    document: dict[str, Any] = service.client.get("/openapi.json").json()
    return document


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if path.rpartition("/")[2] not in {"seal", "unseal"}:
                yield method.upper(), path, operation


def _example(operation: dict[str, Any]) -> Any:
    content: dict[str, Any] = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    examples: list[dict[str, Any]] = [*content.get("examples", {}).values(), {}]
    found = content.get("example") or examples[0].get("value")
    assert found is not None or not content, "a body without an example"
    return found


def _places(body: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    members = body.items() if isinstance(body, dict) else enumerate(body) if isinstance(body, list) else ()
    for name, value in members:
        yield (*place, name)
        yield from _places(value, (*place, name))


def _put_value(body: Any, place: tuple[Any, ...], value: Any) -> str:
    changed = copy.deepcopy(body)
    inside = changed
    for name in place[:-1]:
        inside = inside[name]
    inside[place[-1]] = value
    return json.dumps(changed)


@pytest.fixture(scope="module")
def connection(service: Service) -> Iterator[HTTPConnection]:
    """A plain connection: `service.client` would spend longer on these thousands of requests."""
    to = service.client.base_url
    with closing(HTTPConnection(to.host, to.port, timeout=60)) as connection:
        yield connection


@pytest.fixture
def assert_holds(service: Service, connection: HTTPConnection) -> Callable[..., None]:
    """Sends one request, which must not be answered with a 5xx."""
    headers = {"Authorization": f"Bearer {service.token}", "Content-Type": "application/json"}

    def check(method: str, path: str, content: str | None = None) -> None:
        connection.request(method, path, None if content is None else content.encode(), headers)
        answer = connection.getresponse()
        text = answer.read()
        assert answer.status < 500, (method, path, content, text)

    return check


def test_no_member_of_a_body_breaks_anything(
    assert_holds: Callable[..., None], document: dict[str, Any]
) -> None:
    tried = 0
    for method, path, operation in _operations(document):
        body = _example(operation)
        filled = path.replace("{userId}", "alice").replace("{id}", "0" * 8 + "-0000-4000-8000-" + "0" * 12)
        for place in _places(body):
            for value in VALUES:
                assert_holds(method, filled, _put_value(body, place, value))
                tried += 1
    assert tried > 1000


def test_no_parameter_breaks_anything(assert_holds: Callable[..., None], document: dict[str, Any]) -> None:
    tried = 0
    for method, path, operation in _operations(document):
        for parameter in operation.get("parameters", []):
            for value in [*TIMES, *NUMBERS, *TEXTS, *WORDS]:
                text = str(value)[:2000].encode("utf-8", "surrogatepass")
                if parameter["in"] == "path":
                    where = path.replace("{" + parameter["name"] + "}", quote(text, safe="") or "%20")
                else:
                    where = f"{path}?{parameter['name']}={quote(text, safe='')}"
                where = where.replace("{userId}", "alice").replace("{name}", "bounds")
                assert_holds(method, where.replace("{id}", "x").replace("{alias}", "x"))
                tried += 1
    assert tried > 300


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "9999-12-31T23:59:59-23:59"])
def test_a_rotation_of_another_age_is_refused(service: Service, at: str) -> None:
    answer = service.call("POST", "/rotations", json={"stale": {"wrappedBefore": at}})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert at not in answer.text
