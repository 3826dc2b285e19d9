"""What is deployed for evidence: lint-free, really created, registered, and with commands that exist."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import boto3
import botocore.session
import pytest
import yaml
from botocore.validate import ParamValidator
from click.testing import CliRunner
from moto import mock_aws

from kms_service.cli.root import root
from workloads import DEPLOY, KUBERNETES, PODS, documents

STACK = DEPLOY / "cloudformation/evidence.yaml"
TASK = json.loads((DEPLOY / "ecs/reconcile.json").read_text())
(JOB, *_) = documents(KUBERNETES / "reconcile/cronjob.yaml")
POD: dict[str, Any] = JOB["spec"]["jobTemplate"]["spec"]["template"]["spec"]
ALERTS = yaml.safe_load((DEPLOY / "monitoring/alerts.yaml").read_text())["groups"][0]["rules"]


def test_cfn_lint_finds_nothing() -> None:
    command = Path(sys.executable).with_name("cfn-lint")
    linted = subprocess.run([command, STACK], capture_output=True, text=True, check=False)  # noqa: S603 - our own
    assert (linted.returncode, linted.stdout) == (0, "")


@mock_aws
def test_the_stack_is_created_with_a_bucket_that_deletes_nothing() -> None:
    iam = boto3.client("iam", "eu-central-1")
    for name in ("serving", "audit"):
        iam.create_role(RoleName=name, AssumeRolePolicyDocument="{}")
    stack = yaml.load(STACK.read_text(), Loader=_loader())  # noqa: S506 - a loader of tags, made from the safe one
    # moto 5.2 keeps a key's policy as an object where it needs text; it is held against AWS by cfn-lint.
    stack["Resources"] = {name: stack["Resources"][name] for name in ("Heads", "KeepHeads", "ReadEvidence")}
    boto3.client("cloudformation", "eu-central-1").create_stack(
        StackName="evidence",
        TemplateBody=json.dumps({**stack, "Outputs": {}}),
        Parameters=[
            {"ParameterKey": key, "ParameterValue": value}
            for key, value in (
                ("ServingRoleName", "serving"),
                ("AuditRoleName", "audit"),
                ("TrailBucket", "trail"),
            )
        ],
    )
    (bucket,) = boto3.client("s3", "eu-central-1").list_buckets()["Buckets"]
    assert bucket["Name"]
    keeps = iam.get_role_policy(RoleName="serving", PolicyName="kms-service-keep-heads")["PolicyDocument"]
    assert {each["Action"] for each in keeps["Statement"]} == {"s3:PutObject"}
    reads = iam.get_role_policy(RoleName="audit", PolicyName="kms-service-read-evidence")["PolicyDocument"]
    assert not [each for each in reads["Statement"] if "Put" in each["Action"] or "Delete" in each["Action"]]


def test_the_object_lock_is_one_that_nobody_can_lift() -> None:
    stack = yaml.load(STACK.read_text(), Loader=_loader())  # noqa: S506 - as above
    heads = stack["Resources"]["Heads"]["Properties"]
    assert heads["ObjectLockConfiguration"]["Rule"]["DefaultRetention"]["Mode"] == "COMPLIANCE"
    assert heads["ObjectLockEnabled"] is True
    assert stack["Resources"]["Heads"]["DeletionPolicy"] == "Retain"


def test_the_task_can_be_registered() -> None:
    model = botocore.session.get_session().get_service_model("ecs").operation_model("RegisterTaskDefinition")
    assert model.input_shape is not None
    report = ParamValidator().validate(TASK, model.input_shape)
    assert not report.has_errors(), report.generate_report()
    with mock_aws():
        registered = boto3.client("ecs", "eu-central-1").register_task_definition(**TASK)["taskDefinition"]
    assert registered["family"] == "kms-service-reconcile"


@pytest.mark.parametrize(
    "command",
    [POD["containers"][0]["args"], TASK["containerDefinitions"][1]["command"]],
    ids=["kubernetes", "ecs"],
)
def test_the_command_is_one_of_the_command_line(command: list[str]) -> None:
    arguments = command[: command.index("--cloudtrail")]
    assert CliRunner().invoke(root, [*arguments, "--help"]).exit_code == 0
    told = CliRunner().invoke(root, [*arguments, "--help"]).output
    assert all(option in told for option in command if option.startswith("--"))
    # A window that the files which were fetched cover, and that overlaps the night before.
    assert command[command.index("--since") + 1 :][:1] == ["27h"]
    assert command[command.index("--until") + 1 :][:1] == ["2h"]


def test_the_job_can_do_no_more_than_the_others() -> None:
    other = PODS["migrate"]["spec"]
    assert {**POD["securityContext"], "fsGroup": None} == {**other["securityContext"], "fsGroup": None}
    for container in (*POD["containers"], *POD["initContainers"]):
        assert container["securityContext"] == other["containers"][0]["securityContext"]
    assert POD["automountServiceAccountToken"] is False
    assert POD["containers"][0]["image"] == other["containers"][0]["image"]
    task = TASK["containerDefinitions"][1]
    assert (task["user"], task["readonlyRootFilesystem"]) == ("10001:10001", True)


def test_a_failure_of_the_job_raises_an_alert() -> None:
    (alert,) = [rule for rule in ALERTS if rule["alert"] == "KmsServiceCallsUnexplained"]
    assert f'job_name=~"{JOB["metadata"]["name"]}-.+"' in alert["expr"]
    assert alert["labels"]["severity"] == "page"


def _loader() -> type[yaml.SafeLoader]:
    class Loader(yaml.SafeLoader):
        """Reads CloudFormation's short forms as the long ones."""

    def intrinsic(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> dict[str, Any]:
        name = suffix if suffix in {"Ref", "Condition"} else f"Fn::{suffix}"
        if isinstance(node, yaml.ScalarNode):
            value: Any = loader.construct_scalar(node)
            return {name: value.split(".") if suffix == "GetAtt" else value}
        if isinstance(node, yaml.SequenceNode):
            return {name: loader.construct_sequence(node, deep=True)}
        return {name: loader.construct_mapping(node, deep=True)}  # type: ignore[arg-type] # the third kind

    Loader.add_multi_constructor("!", intrinsic)
    return Loader
