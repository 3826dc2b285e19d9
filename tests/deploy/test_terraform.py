"""The Terraform module makes what the CloudFormation template makes, resource by resource."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from terraform_module import FOLDER, KINDS, Module

TEMPLATE = Path(__file__).parents[2] / "deploy/cloudformation/kms-pool.yaml"


@pytest.fixture(scope="module")
def module() -> Module:
    return Module().read(FOLDER)


@pytest.fixture(scope="module")
def made(module: Module) -> dict[str, dict[str, Any]]:
    return module.stack()


class _Loader(yaml.CSafeLoader):
    """Reads CloudFormation's short functions as their long forms."""


def _long(loader: _Loader, tag: str, node: yaml.Node) -> dict[str, Any]:
    assert isinstance(node, yaml.ScalarNode)
    del loader
    return {"Ref" if tag == "Ref" else f"Fn::{tag}": node.value}


_Loader.add_multi_constructor("!", _long)
STACK: dict[str, Any] = yaml.load(TEMPLATE.read_text(), _Loader)  # noqa: S506 - a safe loader, extended
RESOURCES: dict[str, Any] = STACK["Resources"]


def _resolve(value: Any) -> Any:
    """With the parameters' defaults, and references as names in angle brackets."""
    if isinstance(value, list):
        return [_resolve(part) for part in value]
    match value:
        case {"Ref": name} if name in STACK["Parameters"]:
            default = STACK["Parameters"][name]["Default"]
            return {"true": True, "false": False}.get(default, default)
        case {"Ref": name} | {"Fn::GetAtt": name}:
            return f"<{name}>"
        case {"Fn::Sub": text}:
            return re.sub(r"\$\{([\w:]+)\}", lambda found: str(_resolve({"Ref": found[1]})), text)
        case dict():
            return {key: _resolve(part) for key, part in value.items()}
    return value


def _lists(value: Any) -> Any:
    """A policy with lists wherever one word may stand for a list of one."""
    if isinstance(value, dict):
        return {key: value[key] if key in _WORDS else _lists(value[key]) for key in value}
    return value if isinstance(value, list) and value and isinstance(value[0], dict) else _as_list(value)


_WORDS = {"Version", "Sid", "Effect"}


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list) else [value]


def _policy(document: dict[str, Any]) -> list[Any]:
    return [_lists(statement) for statement in document["Statement"]]


def _same(properties: dict[str, Any]) -> dict[str, Any]:
    """Properties in a form that both languages share."""
    same = dict(properties)
    for name in ("KeyPolicy", "AssumeRolePolicyDocument", "PolicyDocument"):
        if name in same:
            same[name] = _policy(same[name])
    if isinstance(same.get("Tags"), list):
        same["Tags"] = {tag["Key"]: tag["Value"] for tag in same["Tags"]}
    if isinstance(same.get("Dimensions"), list):
        same["Dimensions"] = {each["Name"]: each["Value"] for each in same["Dimensions"]}
    if "Topics" in same:
        same["Topics"] = _as_list(same["Topics"])
    return same


def test_template_and_module_make_the_same_resources(made: dict[str, dict[str, Any]]) -> None:
    template = {name: resource["Type"] for name, resource in RESOURCES.items()}
    # Without an address there is no subscription in either, but its block is there to compare.
    assert {name: resource["Type"] for name, resource in made.items()} == template


@pytest.mark.parametrize("name", RESOURCES)
def test_a_resource_has_the_same_properties_in_both(made: dict[str, dict[str, Any]], name: str) -> None:
    properties = RESOURCES[name].get("Properties", {})
    assert _same(made[name]["Properties"]) == _same(_resolve(properties))


def test_keys_outlive_template_and_module(module: Module) -> None:
    kept = {RESOURCES[name]["Type"] for name in RESOURCES if "DeletionPolicy" in RESOURCES[name]}
    guarded = {
        KINDS[kind][0]
        for kind, block in module.resources
        if any(each["prevent_destroy"] for each in block.get("lifecycle", []))
    }
    assert kept == guarded == {"AWS::KMS::Key"}


def test_service_accounts_of_a_cluster_assume_the_roles_where_its_provider_is_given(module: Module) -> None:
    """As `render.py --oidc-provider` has it, which a test compares with the manifests of Kubernetes."""
    roles = module.local["roles"]
    document = module.documents["cluster"]
    (statement,) = document["statement"]
    accounts = {condition["values"][0] for condition in statement["condition"]}
    assert '"system:serviceaccount:kms-service:${each.value.account}"' in accounts
    assert {name: role["account"].strip('"') for name, role in roles.items()} == {
        "ServingRole": "kms-service",
        "CreationRole": "kms-service-creation",
        "RevealRole": "kms-service-reveal",
        "RotationRole": "kms-service-rotation-worker",
        "AuditRole": "kms-service-audit",
        "OperationRole": "kms-service-operation",
    }
