"""Reads the Terraform module's resources as CloudFormation has them, with the defaults of its variables.

It reads the part of the language that the module uses, and fails on anything else: for_each over maps,
references, templates, one condition, jsonencode, and policy documents.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hcl2

FOLDER = Path(__file__).parents[1] / "deploy/terraform"
Value = Any

# Terraform's type: CloudFormation's, the resource's name in the template, and the properties by attribute.
KINDS: dict[str, tuple[str, str, dict[str, str]]] = {
    "aws_kms_key": (
        "AWS::KMS::Key",
        "Key{key}",
        {
            "description": "Description",
            "enable_key_rotation": "EnableKeyRotation",
            "multi_region": "MultiRegion",
            "rotation_period_in_days": "RotationPeriodInDays",
            "deletion_window_in_days": "PendingWindowInDays",
            "policy": "KeyPolicy",
            "tags": "Tags",
        },
    ),
    "aws_kms_alias": ("AWS::KMS::Alias", "Alias{key}", {"name": "AliasName", "target_key_id": "TargetKeyId"}),
    "aws_iam_role": (
        "AWS::IAM::Role",
        "{key}",
        {"description": "Description", "assume_role_policy": "AssumeRolePolicyDocument"},
    ),
    "aws_sns_topic": ("AWS::SNS::Topic", "Alerts", {}),
    "aws_sns_topic_policy": (
        "AWS::SNS::TopicPolicy",
        "AlertsPolicy",
        {"arn": "Topics", "policy": "PolicyDocument"},
    ),
    "aws_sns_topic_subscription": (
        "AWS::SNS::Subscription",
        "AlertsSubscription",
        {"topic_arn": "TopicArn", "protocol": "Protocol", "endpoint": "Endpoint"},
    ),
    "aws_cloudwatch_event_rule": (
        "AWS::Events::Rule",
        "{key}Rule",
        {"description": "Description", "event_pattern": "EventPattern"},
    ),
    "aws_cloudwatch_event_target": ("", "{key}Rule", {"target_id": "Id", "arn": "Arn"}),
    "aws_cloudwatch_metric_alarm": (
        "AWS::CloudWatch::Alarm",
        "{key}Alarm",
        {
            "alarm_description": "AlarmDescription",
            "namespace": "Namespace",
            "metric_name": "MetricName",
            "dimensions": "Dimensions",
            "statistic": "Statistic",
            "period": "Period",
            "evaluation_periods": "EvaluationPeriods",
            "threshold": "Threshold",
            "comparison_operator": "ComparisonOperator",
            "treat_missing_data": "TreatMissingData",
            "alarm_actions": "AlarmActions",
        },
    ),
}
# Names, which CloudFormation makes up; counts; and what has its own test.
_NO_PROPERTIES = {"name_prefix", "alarm_name", "rule", "for_each", "count", "lifecycle"}


def _plain(name: str) -> str:
    return name.strip('"')


@dataclass(slots=True)
class Module:
    """The blocks of the module's files."""

    variables: dict[str, Value] = field(default_factory=dict)
    local: dict[str, Value] = field(default_factory=dict)
    documents: dict[str, Value] = field(default_factory=dict)
    resources: list[tuple[str, dict[str, Value]]] = field(default_factory=list)

    def read(self, folder: Path) -> "Module":
        """Read every file of the folder."""
        for file in sorted(folder.glob("*.tf")):
            blocks = hcl2.loads(file.read_text())
            for local in blocks.get("locals", []):
                self.local |= local
            for variable in blocks.get("variable", []):
                self.variables |= {_plain(name): block["default"] for name, block in variable.items()}
            for kind, found in _named_blocks(blocks.get("data", [])):
                if kind == "aws_iam_policy_document":
                    self.documents |= {_plain(name): block for name, block in found.items()}
            for kind, found in _named_blocks(blocks.get("resource", [])):
                self.resources += [(kind, block) for block in found.values()]
        return self

    def stack(self) -> dict[str, dict[str, Value]]:
        """The type and properties of each resource, by its name in the template."""
        made: dict[str, dict[str, Value]] = {}
        for kind, block in self.resources:
            cloudformation, name, attributes = KINDS[kind]
            for each in self._instances(block):
                properties = {
                    attributes[attribute]: Scope(self, each).value(value)
                    for attribute, value in block.items()
                    if attribute not in _NO_PROPERTIES and not attribute.startswith("__")
                }
                resource = made.setdefault(name.format(key=each[0]), {"Properties": {}})
                if cloudformation:
                    resource["Type"] = cloudformation
                    resource["Properties"] |= properties
                else:
                    resource["Properties"]["Targets"] = [properties]
        return made

    def _instances(self, block: dict[str, Value]) -> list[tuple[str, Value]]:
        over = Scope(self, ("", None)).value(block["for_each"]) if "for_each" in block else {"": None}
        return list(over.items())


def _named_blocks(blocks: list[dict[str, Value]]) -> Iterator[tuple[str, dict[str, Value]]]:
    for block in blocks:
        for kind, found in block.items():
            yield _plain(kind), found


@dataclass(frozen=True, slots=True)
class Scope:
    """Where an expression is: in a module, in the instance with this key and value."""

    module: Module
    each: tuple[str, Value]

    def value(self, written: Value) -> Value:
        """The value; a reference to a resource is its name in the template, in angle brackets."""
        if isinstance(written, dict):
            return {
                _plain(key): self.value(part) for key, part in written.items() if not key.startswith("__")
            }
        if isinstance(written, list):
            return [self.value(part) for part in written]
        if not isinstance(written, str):
            return written
        if written.startswith("${"):
            return self._expression(written[2:-1])
        return re.sub(r"\$\{([^}]+)\}", lambda found: str(self._expression(found[1])), _plain(written))

    def _expression(self, text: str) -> Value:
        for pattern, meaning in _MEANINGS.items():
            if found := re.fullmatch(pattern, text, re.DOTALL):
                return meaning(self, *found.groups())
        raise AssertionError(f"the tests cannot read: {text}")

    def document(self, name: str) -> Value:
        """The policy that a document block makes."""
        statements = [self._statement(each) for each in self.module.documents[name]["statement"]]
        return {"Version": "2012-10-17", "Statement": statements}

    def _statement(self, block: dict[str, Value]) -> dict[str, Value]:
        plain = {name: self.value(block[name]) for name in ("sid", "effect") if name in block}
        made: dict[str, Value] = {name.capitalize(): value for name, value in plain.items()}
        made["Action"] = self.value(block["actions"])
        if "resources" in block:
            made["Resource"] = self.value(block["resources"])
        made["Principal"] = {
            self.value(each["type"]): self.value(each["identifiers"]) for each in block["principals"]
        }
        for each in block.get("condition", []):
            under = made.setdefault("Condition", {}).setdefault(self.value(each["test"]), {})
            under[self.value(each["variable"])] = self.value(each["values"])
        return made

    def aliases(self) -> dict[str, str]:
        """The result of the module's one loop over numbers."""
        return {
            str(number): self.value(f'"alias/${{var.alias_prefix}}-{number}"')
            for number in range(1, self.module.variables["keys"] + 1)
        }


_MEANINGS: dict[str, Any] = {
    r"each\.key": lambda scope: scope.each[0],
    r"each\.value": lambda scope: scope.each[1],
    r"each\.value\.(\w+)": lambda scope, name: scope.each[1][name],
    r"var\.(\w+)": lambda scope, name: scope.value(scope.module.variables[name]),
    r"local\.(\w+)": lambda scope, name: scope.value(scope.module.local[name]),
    r'var\.(\w+) == "" \? (\S+) : (.+)': lambda scope, name, empty, set_: scope.value(
        f"${{{empty if scope.value(scope.module.variables[name]) == '' else set_}}}"
    ),
    r"jsonencode\((.+)\)": lambda scope, document: scope.value(
        hcl2.loads(f"document = {document}\n")["document"]
    ),
    r"data\.aws_caller_identity\.this\.account_id": lambda _scope: "<AWS::AccountId>",
    r"data\.aws_partition\.this\.partition": lambda _scope: "<AWS::Partition>",
    r"data\.aws_iam_policy_document\.(\w+)\.json": lambda scope, name: scope.document(name),
    r'aws_iam_role\.this\["(\w+)"\]\.arn': lambda _scope, name: f"<{name}.Arn>",
    r"aws_sns_topic\.alerts\.arn": lambda _scope: "<Alerts>",
    r"aws_kms_key\.this\[each\.key\]\.key_id": lambda scope: f"<Key{scope.each[0]}>",
    r"aws_cloudwatch_event_rule\.this\[each\.key\]\.name": lambda scope: f"<{scope.each[0]}Rule>",
    r"\[for key in aws_kms_key\.this : key\.arn\]": lambda scope: [f"<Key{n}.Arn>" for n in scope.aliases()],
    r"\{for number in range\(1, var\.keys \+ 1\) : .*\}": lambda scope: scope.aliases(),
}
