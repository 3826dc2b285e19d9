"""Deny by default: every route needs exactly its scope, and gives nothing to anybody else."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute, iter_route_contexts
from httpx import Response

from calling import ALL, Service, make_token
from event_loop import complete, enter
from kms_service.access import tokens
from kms_service.access.scopes import Scope
from kms_service.api.app import create_app
from kms_service.api.security import AuthenticatedRoute
from kms_service.store.access.tokens import TokenStore
from planting import change_token, now
from wiring import invented_token

# The contract's table: every route that exists must be here, with the one scope that opens it.
MATRIX: dict[str, Scope] = {
    "POST /wallets": Scope.WALLETS_CREATE,
    "PUT /wallets/{userId}": Scope.WALLETS_CREATE,
    "POST /wallets/batch": Scope.WALLETS_CREATE,
    "GET /wallets": Scope.WALLETS_READ,
    "GET /wallets/{userId}": Scope.WALLETS_READ,
    "GET /wallets/{userId}/private-key": Scope.PRIVATE_KEYS_READ,
    "GET /wallets/users/{userId}/private-key": Scope.PRIVATE_KEYS_READ,
    "GET /wallets/platform/verifier-private-key": Scope.PRIVATE_KEYS_READ,
    "POST /wallet-imports": Scope.WALLETS_IMPORT,
    "PUT /wallets/{userId}/import": Scope.WALLETS_IMPORT,
    "POST /wallets/{userId}/private-key/export": Scope.PRIVATE_KEYS_EXPORT,
    "POST /wallets/{userId}/sign/message": Scope.WALLETS_SIGN,
    "POST /wallets/{userId}/sign/typed-data": Scope.WALLETS_SIGN,
    "POST /wallets/{userId}/sign/transaction": Scope.WALLETS_SIGN,
    "POST /wallets/{userId}/sign/authorization": Scope.WALLETS_DELEGATE,
    "GET /policies": Scope.POOL_READ,
    "GET /policies/{name}": Scope.POOL_READ,
    "GET /policies/{name}/usage": Scope.POOL_READ,
    "GET /kms/pool": Scope.POOL_READ,
    "GET /kms/status": Scope.POOL_READ,
    "POST /kms/pool/refresh": Scope.POOL_ADMIN,
    "PUT /kms/pool/keys/{alias:path}": Scope.POOL_ADMIN,
    "GET /seal": Scope.POOL_READ,
    "POST /seal": Scope.POOL_ADMIN,
    "POST /unseal": Scope.POOL_ADMIN,
    "POST /rotations": Scope.ROTATIONS_ADMIN,
    "GET /rotations": Scope.ROTATIONS_READ,
    "GET /rotations/{id}": Scope.ROTATIONS_READ,
    "GET /rotations/{id}/failures": Scope.ROTATIONS_READ,
    "POST /rotations/{id}/pause": Scope.ROTATIONS_ADMIN,
    "POST /rotations/{id}/resume": Scope.ROTATIONS_ADMIN,
    "POST /rotations/{id}/cancel": Scope.ROTATIONS_ADMIN,
    "GET /audit/events": Scope.AUDIT_READ,
}
OPEN = {
    "/livez", "/readyz", "/health", "/metrics", "/openapi.json", "/docs", "/docs/{asset}"
}  # fmt: skip
PAGE = Path(__file__).parents[2] / "docs/api.md"
# These must exist, whatever else does.
PRESENT = set(list(MATRIX)[:14])


def _routes(service: Service) -> dict[str, APIRoute]:
    """Every route that is not open to all, by method and path; documented or not."""
    found: dict[str, APIRoute] = {}
    for context in iter_route_contexts(service.app.routes):
        if context.path in OPEN:
            continue
        assert isinstance(context.original_route, APIRoute), context.path
        found |= {f"{method} {context.path}": context.original_route for method in context.methods or ()}
    return found


@pytest.fixture(scope="module")
def by_scope(service: Service) -> dict[Scope, str]:
    """A token for each scope, and that scope only."""
    return {scope: make_token(service.services, scope) for scope in Scope}


def _ask(service: Service, route: str, token: str, **content: Any) -> Response:
    method, path = route.split()
    return service.call(method, re.sub(r"\{[\w:]+\}", "nobody-there", path), token=token, **content)


def test_every_route_is_in_the_table_with_its_scope(service: Service) -> None:
    routes = _routes(service)
    assert routes.keys() - MATRIX.keys() == set(), "a route without an entry"
    assert routes.keys() >= PRESENT
    for name, route in routes.items():
        assert isinstance(route, AuthenticatedRoute), name
        assert route.scope is MATRIX[name], name


def _documented_scopes() -> dict[str, str]:
    """Each route in the tables of docs/api.md, and its scope, or nothing where it is open."""
    found, name = {}, ""
    for line in PAGE.read_text().splitlines():
        if re.match(r"\| `[A-Z]+ /", line):
            _, routes, scope, *_ = line.split("|")
            for code in re.findall(r"`((?:[A-Z]+ )?/[^`? ]+)", routes):
                # `/resume` after `POST /rotations/{id}/pause` differs in its last part only.
                name = code if " " in code else f"{name.rpartition('/')[0]}{code}"
                found[name] = scope.strip("`| ")
    return found


def test_every_route_is_documented_with_its_scope(service: Service) -> None:
    scopes = {route.replace(":path", ""): str(scope) for route, scope in MATRIX.items()}
    pages = dict.fromkeys((f"GET {path}" for path in OPEN - {"/docs/{asset}"}), "")
    assert _documented_scopes() == {**scopes, **pages, "GET /console": str(Scope.POOL_READ)}
    assert {route.replace(":path", "") for route in _routes(service)} <= _documented_scopes().keys()


def test_a_route_without_a_scope_cannot_be_defined(service: Service) -> None:
    with pytest.raises(ValueError, match="declares no scope"):
        AuthenticatedRoute("/wallets/open", lambda: None)
    assert create_app(service.services, owns_process=False).routes


def test_each_route_takes_its_own_scope_and_no_other(service: Service, by_scope: dict[Scope, str]) -> None:
    for name in _routes(service):
        for scope, token in by_scope.items():
            answer = _ask(service, name, token, json={})
            if scope is MATRIX[name] and name == "POST /unseal":
                assert "may not unseal" in answer.json()["detail"]  # whatever its token
            elif scope is MATRIX[name]:
                assert answer.status_code not in {401, 403}, (name, scope)
            else:
                assert answer.status_code == 403, (name, scope)
                assert answer.json()["code"] == "not_authorized"
                assert answer.json()["detail"] == f"This token lacks the scope {MATRIX[name]}."


def test_all_other_scopes_together_do_not_help(service: Service) -> None:
    for name in _routes(service):
        token = make_token(service.services, *(scope for scope in ALL if scope is not MATRIX[name]))
        assert _ask(service, name, token, json={}).status_code == 403, name


def _nobody(service: Service) -> dict[str, dict[str, str]]:
    """Headers that authenticate nobody."""
    revoked, expired = make_token(service.services, *ALL), make_token(service.services, *ALL)
    for token, ended in ((revoked, "revoked_at"), (expired, "expires_at")):
        found = complete(TokenStore(service.owner).find(tokens.digest(token) or b""))
        assert found is not None
        change_token(service.operator, found.row.name, **{ended: now})
    return {
        "no header": {},
        "no scheme": {"Authorization": service.token},
        "no token": {"Authorization": "Bearer"},
        "another scheme": {"Authorization": f"Basic {service.token}"},
        "unknown": {"Authorization": f"Bearer {invented_token()}"},
        "misshapen": {"Authorization": "Bearer kms_short"},
        "longer by one": {"Authorization": f"Bearer {service.token}A"},
        "not ASCII": {"Authorization": "Bearer kms_ÿ"},
        "revoked": {"Authorization": f"Bearer {revoked}"},
        "expired": {"Authorization": f"Bearer {expired}"},
        "in the query": {"X-Token": service.token},
    }


def test_401_never_says_why(service: Service) -> None:
    seen = set()
    for name in _routes(service):
        for why, headers in _nobody(service).items():
            raw = {key: value.encode("latin-1") for key, value in headers.items()}
            answer = _ask(service, name, "", json={}, headers=raw)
            assert answer.status_code == 401, (name, why)
            assert answer.headers["www-authenticate"] == "Bearer"
            problem = answer.json()
            problem.pop("requestId")
            seen.add(json.dumps(problem, sort_keys=True))
    assert len(seen) == 1


def test_the_scheme_is_compared_without_case(service: Service) -> None:
    answer = service.call("GET", "/wallets", token="", headers={"Authorization": f"bEARER {service.token}"})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "content",
    [
        {"json": {"userId": "alice"}},
        {"json": {"userId": ""}},
        {"content": b"{", "headers": {"Content-Type": "application/json"}},
        {"content": b"x", "headers": {"Content-Type": "text/plain"}},
    ],
    ids=["good", "invalid", "no JSON", "no JSON type"],
)
def test_authorisation_comes_before_validation(
    service: Service, by_scope: dict[Scope, str], content: dict[str, Any]
) -> None:
    def statuses(token: str) -> int:
        return service.call("POST", "/wallets", token=token, **content).status_code

    assert statuses("") == 401
    assert statuses(by_scope[Scope.WALLETS_READ]) == 403
    assert statuses(by_scope[Scope.WALLETS_CREATE]) != 403


def test_without_the_scope_nobody_learns_whether_a_wallet_exists(
    service: Service, by_scope: dict[Scope, str]
) -> None:
    service.create("somebody")
    for path in ("/wallets/{}", "/wallets/{}/private-key"):
        for token, status in (("", 401), (by_scope[Scope.AUDIT_READ], 403)):
            answers = [
                service.call("GET", path.format(user), token=token)
                for user in ("somebody", "nobody", "no!body")
            ]
            assert {answer.status_code for answer in answers} == {status}
            assert len({answer.text.replace(answer.json()["requestId"], "") for answer in answers}) == 1


def test_a_refusal_is_on_record_and_an_unknown_token_is_not(
    service: Service, by_scope: dict[Scope, str]
) -> None:
    def events() -> list[Any]:
        statement = "SELECT actor, action, outcome, detail FROM audit_events ORDER BY id"
        with enter(service.owner.connection()) as connection:
            return list(complete(connection.exec_driver_sql(statement)))

    before = len(events())
    service.call("GET", "/wallets/alice/private-key", token=invented_token())
    assert len(events()) == before
    service.call("GET", "/wallets/alice/private-key", token=by_scope[Scope.WALLETS_READ])
    (event,) = events()[before:]
    assert event[1:] == (
        "authorize",
        "not_authorized",
        "GET /wallets/{userId}/private-key needs private-keys:read",
    )
    assert event[0].startswith("caller-")


def test_open_routes_need_no_token_and_hold_no_wallet(service: Service) -> None:
    address = service.create("open-route-user").json()["walletAddress"]
    for path in OPEN - {"/docs/{asset}"}:
        answer = service.call("GET", path, token="")
        assert answer.status_code == 200, path
        assert address not in answer.text
        assert "open-route-user" not in answer.text
