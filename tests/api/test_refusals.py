"""Every mistake of a caller is answered with a problem, which never repeats what was sent."""

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from httpx import Response

from calling import Service

JSON = {"Content-Type": "application/json"}
CANARY = "canary-3f9a"
LIMIT = 64 * 1024


def _check_problem(answer: Response, status: int, code: str) -> dict[str, Any]:
    """A problem of the contract; its members."""
    problem: dict[str, Any] = answer.json()
    assert (answer.status_code, problem["status"], problem["code"]) == (status, status, code), problem
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem.keys() >= {"type", "title", "status", "detail", "code", "requestId"}
    assert problem["requestId"] == answer.headers["x-request-id"]
    assert answer.headers["cache-control"] == "no-store"
    assert CANARY not in answer.text
    return problem


BODIES: list[tuple[str, bytes, str, int, str]] = [
    # what, body, field, status, code
    ("no JSON", b"{canary-3f9a", "", 400, "invalid_json"),
    ("cut", b'{"userId": "canary-3f9a', "", 400, "invalid_json"),
    ("no UTF-8", b'{"userId": "\xff\xfe canary-3f9a"}', "", 400, "invalid_json"),
    ("too deep", b"[" * 60_000, "", 400, "invalid_json"),
    ("trailing text", b'{"userId": "a"} canary-3f9a', "", 400, "invalid_json"),
    ("nothing", b"", "body", 422, "invalid_request"),
    ("null", b"null", "body", 422, "invalid_request"),
    ("an array", b'["canary-3f9a"]', "body", 422, "invalid_request"),
    ("a string", b'"canary-3f9a"', "body", 422, "invalid_request"),
    ("no member", b"{}", "body.userId", 422, "invalid_request"),
    ("an unknown member", b'{"userId": "a", "extra": "canary-3f9a"}', "body.extra", 422, "invalid_request"),
    (
        "an unspeakable member",
        b'{"userId": "a", "canary-3f9a !": 1}',
        "body.(unnamed)",
        422,
        "invalid_request",
    ),
    ("the Python name", b'{"user_id": "canary-3f9a"}', "body.userId", 422, "invalid_request"),
    ("a number", b'{"userId": 17}', "body.userId", 422, "invalid_request"),
    ("a bool", b'{"userId": true}', "body.userId", 422, "invalid_request"),
    ("null user", b'{"userId": null}', "body.userId", 422, "invalid_request"),
    ("nested", b'{"userId": {"canary-3f9a": 1}}', "body.userId", 422, "invalid_request"),
    ("NaN", b'{"userId": NaN}', "", 400, "invalid_json"),
    ("a member twice", b'{"userId": "a", "userId": "canary-3f9a"}', "", 400, "invalid_json"),
    ("a nested member twice", b'{"userId": {"x": 1, "x": "canary-3f9a"}}', "", 400, "invalid_json"),
    ("a byte order mark", b'\xef\xbb\xbf{"userId": "canary-3f9a"}', "", 400, "invalid_json"),
    ("UTF-16", '{"userId": "canary-3f9a"}'.encode("utf-16-le"), "", 400, "invalid_json"),
    ("a lone surrogate", b'{"userId": "\\ud800canary-3f9a"}', "", 400, "invalid_json"),
    ("a huge number", b'{"userId": ' + b"9" * 5000 + b"}", "", 400, "invalid_json"),
]


@pytest.mark.parametrize(("what", "body", "field", "status", "code"), BODIES, ids=[row[0] for row in BODIES])
def test_a_malformed_body_is_refused(
    service: Service, what: str, body: bytes, field: str, status: int, code: str
) -> None:
    del what
    problem = _check_problem(service.call("POST", "/wallets", content=body, headers=JSON), status, code)
    if field:
        assert field in [error["field"] for error in problem["errors"]]


USERS = [
    "", ".", "..", "a" * 129, "canary-3f9a b", "canary-3f9a/b", "canary-3f9a\n", "canary-3f9a\u0000", "é",
    "٣", "a%20b", "<canary-3f9a>", "canary-3f9a'--", "a\u202eb",
]  # fmt: skip


@pytest.mark.parametrize("user", USERS, ids=ascii)
def test_an_invalid_user_id_is_refused(service: Service, user: str) -> None:
    problem = _check_problem(service.call("POST", "/wallets", json={"userId": user}), 422, "invalid_request")
    assert problem["errors"][0]["field"] == "body.userId"


@pytest.mark.parametrize("user", USERS, ids=ascii)
def test_an_invalid_user_id_in_a_batch_is_a_problem_of_its_own_item(service: Service, user: str) -> None:
    answer = service.call("POST", "/wallets/batch", json={"userIds": [user, "fine", user, "fine"]})
    assert answer.status_code == 200
    first, made, again, repeated = answer.json()["results"]
    assert [first["userId"], made["userId"], again["userId"]] == [user, "fine", user]
    for refused, field in ((first, "userIds.0"), (again, "userIds.2")):
        assert (refused["status"], refused["problem"]["code"]) == (422, "invalid_request")
        assert refused["problem"]["errors"][0]["field"] == field
        assert CANARY not in json.dumps(refused["problem"])
        assert "wallet" not in refused
    assert made["status"] in (200, 201)
    assert repeated["status"] == 200
    assert made["wallet"] == repeated["wallet"]


@pytest.mark.parametrize(
    "user", ["%2e", "%2E%2E", "a%20b", "%ff", "%00", "%C3%A9", "a" * 129, "canary-3f9a!"]
)
def test_an_invalid_user_id_in_a_path_is_refused(service: Service, user: str) -> None:
    """Sent as it stands: clients tidy such paths up before they go out."""
    for tail in ("", "/private-key"):
        status, headers, body = _raw(service, f"GET /wallets/{user}{tail} HTTP/1.1")
        assert status == 422
        assert headers["content-type"] == "application/problem+json"
        assert json.loads(body)["errors"][0]["field"] == "path.userId"
        assert CANARY not in body


@pytest.mark.parametrize("user", ["a", "a" * 128, "A.b_c:d@e-f.0", "...", "-", "@", "batch", "true", "0"])
def test_a_valid_user_id_is_accepted(service: Service, user: str) -> None:
    assert service.call("PUT", f"/wallets/{user}").status_code == 201
    assert service.call("GET", f"/wallets/{user}").json()["userId"] == user


@pytest.mark.parametrize("users", [[], ["a"] * 101, "a", {"a": 1}, [1], [None], ["a", 1]])
def test_a_wrong_batch_is_refused_as_a_whole(service: Service, users: object) -> None:
    _check_problem(service.call("POST", "/wallets/batch", json={"userIds": users}), 422, "invalid_request")


def test_many_mistakes_are_reported_in_bounded_space(service: Service) -> None:
    body = {"userIds": [[f"{CANARY} {number}"] for number in range(100)]}
    answer = service.call("POST", "/wallets/batch", json=body)
    assert len(_check_problem(answer, 422, "invalid_request")["errors"]) == 20
    assert len(answer.content) < 8000


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonp",
        "multipart/form-data",
        "json",
    ],
)
def test_a_body_must_be_declared_as_json(service: Service, content_type: str | None) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    answer = service.call("POST", "/wallets", content=b'{"userId": "typed"}', headers=headers)
    _check_problem(answer, 415, "unsupported_media_type")
    assert service.call("GET", "/wallets/typed").status_code == 404


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "APPLICATION/JSON"])
def test_parameters_and_case_of_the_type_do_not_matter(service: Service, content_type: str) -> None:
    answer = service.call(
        "POST", "/wallets", content=b'{"userId": "batch"}', headers={"Content-Type": content_type}
    )
    assert answer.status_code in {201, 409}


def _body_of(size: int) -> bytes:
    return b'{"userId": "' + b"a" * (size - 14) + b'"}'


def _chunks(body: bytes) -> Iterator[bytes]:
    for start in range(0, len(body), 8192):
        yield body[start : start + 8192]


def test_the_largest_body_is_read(service: Service) -> None:
    assert len(_body_of(LIMIT)) == LIMIT
    for content in (_body_of(LIMIT), _chunks(_body_of(LIMIT))):
        _check_problem(
            service.call("POST", "/wallets", content=content, headers=JSON), 422, "invalid_request"
        )


def test_a_larger_body_is_refused_declared_or_chunked(service: Service) -> None:
    for content in (_body_of(LIMIT + 1), _chunks(_body_of(LIMIT + 1)), _chunks(b"x" * 10 * LIMIT)):
        _check_problem(
            service.call("POST", "/wallets", content=content, headers=JSON), 413, "payload_too_large"
        )


def test_a_declared_length_is_refused_before_the_body_comes(service: Service) -> None:
    head = "POST /wallets HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 999999999"
    status, headers, _ = _raw(service, head)
    assert (status, headers["content-type"]) == (413, "application/problem+json")


@pytest.mark.parametrize(
    "path",
    ["/", "/nope", "/wallets/", "/wallets/a/b", "/wallets/alice/private-key/", "/v1/wallets", "//wallets"],
)
@pytest.mark.parametrize("token", [None, ""])
def test_an_unknown_route_is_not_found(service: Service, path: str, token: str | None) -> None:
    _check_problem(service.call("GET", path, token=token), 404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/wallets/alice", {"GET", "PUT"}),
        ("PATCH", "/wallets", {"GET", "POST"}),
        ("POST", "/wallets/alice/private-key", {"GET"}),
        ("POST", "/livez", {"GET"}),
        ("OPTIONS", "/wallets", {"GET", "POST"}),
    ],
)
def test_another_method_is_not_allowed(service: Service, method: str, path: str, allowed: set[str]) -> None:
    answer = service.call(method, path)
    _check_problem(answer, 405, "method_not_allowed")
    named = {each.strip() for each in answer.headers["allow"].split(",")}
    assert named & allowed
    assert method not in named


@pytest.mark.parametrize("given", ["request-1", "0123abcd-", "A" * 128, "a.b_c-d9"])
def test_a_plausible_request_id_is_kept(service: Service, given: str) -> None:
    for path in ("/wallets", "/nope", "/livez"):
        answer = service.call("GET", path, headers={"X-Request-Id": given})
        assert answer.headers["x-request-id"] == given
    assert service.call("GET", "/nope", headers={"X-Request-Id": given}).json()["requestId"] == given


@pytest.mark.parametrize(
    "given", ["", "short", "A" * 129, "has a space", 'quote"d-here', "canary-3f9a;x", "naïve-id1"]
)
def test_any_other_request_id_is_replaced(service: Service, given: str) -> None:
    answers = [
        service.call("GET", "/nope", headers={"X-Request-Id": given.encode("latin-1")}) for _ in range(2)
    ]
    ids = {answer.headers["x-request-id"] for answer in answers}
    assert given not in ids
    assert len(ids) == 2
    assert all(len(each) == 32 for each in ids)


def test_wallet_answers_are_not_cached(service: Service) -> None:
    service.call("PUT", "/wallets/uncached")
    for path in ("/wallets", "/wallets/uncached", "/wallets/uncached/private-key", "/wallets/nobody"):
        assert service.call("GET", path).headers["cache-control"] == "no-store"


def test_an_error_nobody_foresaw_is_a_problem_that_says_nothing(own_service: Service) -> None:
    def fail() -> None:
        raise RuntimeError(CANARY)

    own_service.app.add_api_route("/fails", fail)
    problem = _check_problem(own_service.call("GET", "/fails"), 500, "internal_error")
    assert problem["detail"] == "Something unexpected happened; the log has the request id."


def _raw(service: Service, head: str) -> tuple[int, dict[str, str], str]:
    """One request sent byte by byte, its answer's status, headers and body."""
    address = service.client.base_url
    with socket.create_connection((address.host, address.port or 0), timeout=10) as connection:
        lines = (head, "Host: service", f"Authorization: Bearer {service.token}", "Connection: close", "", "")
        connection.sendall("\r\n".join(lines).encode())
        answer = b""
        while part := connection.recv(65536):
            answer += part
    first, _, rest = answer.decode().partition("\r\n")
    fields, _, body = rest.partition("\r\n\r\n")
    headers = dict(line.lower().split(": ", 1) for line in fields.split("\r\n"))
    return int(first.split()[1]), headers, body
