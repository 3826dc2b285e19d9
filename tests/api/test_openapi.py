"""The service keeps to its own OpenAPI document, whatever it is sent."""

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from openapi_spec_validator import validate
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from calling import Service, serving
from event_loop import complete

QUICK = settings(
    max_examples=8, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
)

# What these take is more than a schema can say: a cursor is one of ours, a key is on the curve, a time lies
# between two others, and what is signed agrees with its own types.
UNSAYABLE = {
    "GET /audit/events",
    "GET /wallets",
    "POST /wallets/{userId}/private-key/export",
    "POST /wallets/{userId}/sign/message",
    "POST /wallets/{userId}/sign/typed-data",
    "POST /wallets/{userId}/sign/transaction",
    "POST /wallets/{userId}/sign/authorization",
    "GET /policies/{name}/usage",
    "POST /rotations",
    "PUT /wallets/{userId}/import",
}


@pytest.fixture(scope="module")
def document(service: Service) -> dict[str, Any]:
    document: dict[str, Any] = service.client.get("/openapi.json").json()
    return document


def _operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        f"{method.upper()} {path}": operation
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }


def test_the_document_is_valid(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    validate(document)


# schemathesis draws from `random` while it negates, which only costs repeatability.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module")
@pytest.mark.parametrize("mode", GenerationMode)
def test_any_request_is_answered_as_documented(
    service: Service, document: dict[str, Any], mode: GenerationMode
) -> None:
    complete(service.services.signing.warm_up())  # what it loads raises the recursion limit for a moment
    described = _operations(document)
    api = schemathesis.openapi.from_url(f"{service.client.base_url}/openapi.json")
    tried = 0
    for found in api.get_all_operations():
        operation = found.ok()  # type: ignore[union-attr] # an error raises here, and says what it is
        if (
            mode is GenerationMode.NEGATIVE
            and not {"parameters", "requestBody"} & described[operation.label].keys()
        ):
            continue  # nothing to get wrong

        @QUICK
        @given(case=operation.as_strategy(generation_mode=mode))
        def check(case: Any) -> None:
            nonlocal tried
            tried += 1
            case.call_and_validate(
                headers={"Authorization": f"Bearer {service.token}"}, excluded_checks=_checks_to_skip(case)
            )

        check()
        if operation.label == "POST /seal":
            service.unseal()
            complete(service.services.shared_state.poll())
    assert tried > 50


def _checks_to_skip(case: Any) -> list[Any]:
    """The checks that do not apply to a case: its schema cannot say whether it is taken or refused."""
    checks: list[Any] = [positive_data_acceptance] if case.operation.label in UNSAYABLE else []
    if any(_is_not_sent(value) for value in (case.query or {}).values()):
        checks.append(negative_data_rejection)  # the wrong parameter may be the one that is missing
    return checks


def _is_not_sent(value: object) -> bool:
    """Whether a query parameter with this value leaves no trace in the URL."""
    return value is None or (isinstance(value, list | dict) and all(_is_not_sent(each) for each in value))


def test_refusals_are_documented_as_problems(document: dict[str, Any]) -> None:
    for name, operation in _operations(document).items():
        secured = "security" in operation
        expected = {"401", "403", "422", "500", "503"} if secured else set()
        expected |= {"400", "413", "415"} if "requestBody" in operation else set()
        assert expected <= operation["responses"].keys(), name
        for status, answer in operation["responses"].items():
            if secured and status >= "400":
                assert set(answer["content"]) == {"application/problem+json"}, (name, status)


def test_no_schema_echoes_the_input(document: dict[str, Any]) -> None:
    """FastAPI's own 422 has a member `input`."""
    assert "HTTPValidationError" not in str(document)
    assert "ValidationError" not in document["components"]["schemas"]


def test_documentation_can_be_switched_off(own_service: Service) -> None:
    changed = own_service.services.settings.model_copy(update={"docs_enabled": False})
    with serving(changed, own_service.kms) as service:
        for path in ("/openapi.json", "/docs", "/docs/start.js"):
            assert service.client.get(path).status_code == 404
