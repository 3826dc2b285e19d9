"""The policies under deploy/policies: each is valid, and allows and refuses what its cases say."""

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from kms_service.service.policies.judging import Policy
from kms_service.service.policies.language.document import parse
from policies.requests import SHIPPED, judge_request
from policies.test_document import RULES

NAMES = sorted(path.stem for path in SHIPPED.glob("*.json") if not path.stem.endswith(".schema"))
CASES: list[tuple[str, dict[str, Any]]] = [
    (name, case) for name in NAMES for case in json.loads((SHIPPED / "cases" / f"{name}.json").read_text())
]


def shipped_policy(name: str) -> Policy:
    return Policy(name, 1, parse((SHIPPED / f"{name}.json").read_bytes()))


@pytest.mark.parametrize(("name", "case"), CASES, ids=[f"{name}: {case['case']}" for name, case in CASES])
def test_a_case_is_judged_as_it_says(name: str, case: dict[str, Any]) -> None:
    judgement = judge_request(shipped_policy(name), case["action"], case.get("body"), case["userId"])
    assert (judgement.matches[0].rule if judgement.matches else None) == case["allowedBy"]


@pytest.mark.parametrize("name", NAMES)
def test_every_rule_has_a_case_that_it_allows_and_every_policy_one_that_it_refuses(name: str) -> None:
    allowed_by = {case["allowedBy"] for of, case in CASES if of == name}
    assert allowed_by == {rule.id for rule in shipped_policy(name).document.rules} | {None}


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_policy_bounds_how_often(name: str) -> None:
    assert all(rule.windows for rule in shipped_policy(name).document.rules)


SCHEMA = Draft202012Validator(json.loads((SHIPPED / "policy.schema.json").read_text()))


@pytest.mark.parametrize("name", NAMES)
def test_the_published_schema_takes_the_shipped_policies(name: str) -> None:
    SCHEMA.validate(json.loads((SHIPPED / f"{name}.json").read_text()))


@pytest.mark.parametrize(("name", "rule"), RULES.items())
def test_the_published_schema_refuses_what_is_left_out_or_added(name: str, rule: dict[str, Any]) -> None:
    assert SCHEMA.is_valid({"rules": [rule]})
    assert not SCHEMA.is_valid({"rules": [{**rule, "note": name}]})
    for member in rule.keys() - {"windows"}:
        assert not SCHEMA.is_valid({"rules": [{key: rule[key] for key in rule if key != member}]}), member
