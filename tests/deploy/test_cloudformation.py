"""The CloudFormation template: up to date, lint-free, really created, and the service running on its keys."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from botocore.exceptions import EndpointConnectionError

from event_loop import complete
from kms_service.local.iam import allows
from kms_service.loopback import free_port
from kms_service.settings import Settings
from server_process import START_SECONDS
from waiting import wait_until
from wiring import TESTER, running_services
from workloads import OBJECTS

FOLDER = Path(__file__).parents[2] / "deploy" / "cloudformation"
TEMPLATE = FOLDER / "kms-pool.yaml"
REPLICAS = FOLDER / "kms-replicas.yaml"
SERVER = Path(__file__).with_name("moto_server.py")
PROVIDER = "oidc.eks.eu-central-1.amazonaws.com/id/0123456789ABCDEF"
REGION = "eu-central-1"
MAX_BODY_BYTES = 51_200


def _python(*arguments: str) -> subprocess.CompletedProcess[str]:
    source = str(Path(__file__).parents[2] / "src")
    return subprocess.run(  # noqa: S603 - our own script
        [sys.executable, *arguments],
        env=os.environ | {"PYTHONPATH": source},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(("template", "options"), [(TEMPLATE, []), (REPLICAS, ["--replicas"])])
def test_the_template_is_the_one_that_the_code_renders(template: Path, options: list[str]) -> None:
    rendered = _python(str(FOLDER / "render.py"), *options)
    assert rendered.stdout == template.read_text(), "run deploy/cloudformation/render.py"


@pytest.fixture(scope="module")
def for_a_cluster(tmp_path_factory: pytest.TempPathFactory) -> Path:
    template = tmp_path_factory.mktemp("rendered") / "template.yaml"
    template.write_text(_python(str(FOLDER / "render.py"), "--oidc-provider", PROVIDER).stdout)
    return template


@pytest.fixture(scope="module")
def linted(for_a_cluster: Path) -> subprocess.CompletedProcess[str]:
    """What cfn-lint finds in all templates: to read its rules takes longer than to check one."""
    command = Path(sys.executable).with_name("cfn-lint")
    words: list[str | Path] = [command, "--format", "parseable", TEMPLATE, REPLICAS, for_a_cluster]
    return subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603 - our own


@pytest.mark.parametrize("template", [TEMPLATE, REPLICAS])
def test_cfn_lint_finds_nothing(template: Path, linted: subprocess.CompletedProcess[str]) -> None:
    assert str(template) not in linted.stdout
    assert linted.returncode == 0, linted.stdout


def test_cfn_lint_finds_nothing_in_a_template_for_a_cluster(
    for_a_cluster: Path, linted: subprocess.CompletedProcess[str]
) -> None:
    assert str(for_a_cluster) not in linted.stdout
    assert linted.returncode == 0, linted.stdout


@pytest.mark.parametrize("template", [TEMPLATE, REPLICAS])
def test_the_template_is_small_enough_to_deploy_without_a_bucket(template: Path) -> None:
    assert len(template.read_bytes()) < MAX_BODY_BYTES


def test_replicas_are_the_keys_of_the_pool_in_another_region() -> None:
    pool, replicas = _resources(TEMPLATE), _resources(REPLICAS)
    for number in range(1, 11):
        key, replica = (each[f"Key{number}"]["Properties"] for each in (pool, replicas))
        assert replica["PrimaryKeyArn"] == {"Fn::Select": [number - 1, "PrimaryKeyArns"]}
        assert replica["Tags"] == key["Tags"]
        # The same statements; roles are parameters there.
        there = json.dumps(replica["KeyPolicy"]).replace("RoleArn", "Role.Arn")
        assert json.loads(there) == key["KeyPolicy"]
        assert replicas[f"Alias{number}"] == pool[f"Alias{number}"]
    assert {name for name in pool if name.endswith("Rule")} == {
        name for name in replicas if name.endswith("Rule")
    }


def test_a_pool_of_another_size_can_be_rendered() -> None:
    rendered = _python(str(FOLDER / "render.py"), "--keys", "3").stdout
    assert rendered.count("AWS::KMS::Key\n") == 3


def test_roles_can_be_for_the_service_accounts_of_a_cluster(for_a_cluster: Path) -> None:
    trusted = {
        role: resource["Properties"]["AssumeRolePolicyDocument"]["Statement"]
        for role, resource in _resources(for_a_cluster).items()
        if resource["Type"] == "AWS::IAM::Role"
    }
    accounts = [each["metadata"]["name"] for each in OBJECTS if each["kind"] == "ServiceAccount"]
    for role, account in (("ServingRole", accounts[0]), ("RotationRole", accounts[1])):
        (statement,) = trusted.pop(role)
        assert statement["Action"] == "sts:AssumeRoleWithWebIdentity"
        assert statement["Principal"]["Federated"].endswith(f":oidc-provider/{PROVIDER}")
        assert statement["Condition"]["StringEquals"] == {
            f"{PROVIDER}:aud": "sts.amazonaws.com",
            f"{PROVIDER}:sub": f"system:serviceaccount:kms-service:{account}",
        }
    assert all("Federated" in statement["Principal"] for (statement,) in trusted.values())


@pytest.fixture(scope="module")
def aws() -> Iterator[str]:
    """AWS on loopback, with the stack created: all of it but the alarms, which moto 5.2 does not make."""
    url = f"http://127.0.0.1:{free_port()}"
    # A process of its own: its warnings are not this project's.
    command = [sys.executable, str(SERVER), "-H", "127.0.0.1", "-p", url.rpartition(":")[2]]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as moto:  # noqa: S603 - as above
        try:
            _create_stack(url)
            yield url
        finally:
            moto.terminate()


def _create_stack(url: str) -> None:
    cloudformation = _client(url, "cloudformation")

    def answers() -> bool:
        try:
            cloudformation.list_stacks()
        except EndpointConnectionError:
            return False
        return True

    wait_until(answers, START_SECONDS)
    cloudformation.create_stack(
        StackName="pool", TemplateBody=TEMPLATE.read_text(), Capabilities=["CAPABILITY_IAM"]
    )
    (stack,) = cloudformation.describe_stacks(StackName="pool")["Stacks"]
    assert stack["StackStatus"] == "CREATE_COMPLETE"


def _client(url: str, service: Any) -> Any:
    return boto3.client(
        service, region_name=REGION, endpoint_url=url, aws_access_key_id="test", aws_secret_access_key="test"
    )


@pytest.fixture(scope="module")
def outputs(aws: str) -> dict[str, str]:
    (stack,) = _client(aws, "cloudformation").describe_stacks(StackName="pool")["Stacks"]
    return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}


def test_the_stack_makes_ten_keys_with_rotation_under_the_aliases(aws: str) -> None:
    kms = _client(aws, "kms")
    for number in range(1, 11):
        key = kms.describe_key(KeyId=f"alias/Empressa-wallet-key-{number}")["KeyMetadata"]
        assert key["KeyState"] == "Enabled"
        assert kms.get_key_rotation_status(KeyId=key["KeyId"])["KeyRotationEnabled"]


def test_the_keys_policies_grant_each_role_its_one_thing(aws: str, outputs: dict[str, str]) -> None:
    kms = _client(aws, "kms")
    policy = kms.get_key_policy(KeyId=_key_id(kms, 7), PolicyName="default")["Policy"]
    document = policy if isinstance(policy, dict) else json.loads(policy)
    contexts = [{"purpose": name} for name in ("wallet-dek", "audit-chain", "row-mac", "wallet-import")]
    granted = {
        (role, action, context["purpose"])
        for role in ("Serving", "Creation", "Reveal", "Rotation", "Audit", "Operation")
        for action in ("Encrypt", "Decrypt", "ReEncryptFrom", "ReEncryptTo", "GenerateDataKey")
        for context in contexts
        if allows(document, outputs[f"{role}RoleArn"], f"kms:{action}", context)
    }
    assert granted == {
        ("Serving", "Encrypt", "wallet-dek"),
        ("Creation", "Encrypt", "wallet-dek"),
        ("Serving", "Decrypt", "wallet-dek"),
        ("Reveal", "Decrypt", "wallet-dek"),
        ("Rotation", "ReEncryptFrom", "wallet-dek"),
        ("Rotation", "ReEncryptTo", "wallet-dek"),
        ("Serving", "Encrypt", "audit-chain"),
        ("Creation", "Encrypt", "audit-chain"),
        ("Reveal", "Encrypt", "audit-chain"),
        ("Rotation", "Encrypt", "audit-chain"),
        ("Audit", "Decrypt", "audit-chain"),
        ("Rotation", "ReEncryptFrom", "audit-chain"),
        ("Rotation", "ReEncryptTo", "audit-chain"),
        ("Rotation", "ReEncryptFrom", "row-mac"),
        ("Rotation", "ReEncryptTo", "row-mac"),
        *(("Serving", action, "row-mac") for action in ("Encrypt", "Decrypt")),
        *(("Creation", action, "row-mac") for action in ("Encrypt", "Decrypt")),
        ("Reveal", "Decrypt", "row-mac"),
        ("Operation", "Encrypt", "audit-chain"),
        *(("Operation", action, "row-mac") for action in ("Encrypt", "Decrypt")),
        *(("Serving", action, "wallet-import") for action in ("Encrypt", "Decrypt")),
        *(("Creation", action, "wallet-import") for action in ("Encrypt", "Decrypt")),
    }


def _key_id(kms: Any, number: int) -> str:
    key_id: str = kms.describe_key(KeyId=f"alias/Empressa-wallet-key-{number}")["KeyMetadata"]["KeyId"]
    return key_id


def test_deletion_disabling_and_policy_changes_of_every_key_match_a_rule(aws: str) -> None:
    kms, events = _client(aws, "kms"), _client(aws, "events")
    arns = {
        kms.describe_key(KeyId=f"alias/Empressa-wallet-key-{number}")["KeyMetadata"]["Arn"]
        for number in range(1, 11)
    }
    calls: set[str] = set()
    for rule in events.list_rules()["Rules"]:
        detail = json.loads(rule["EventPattern"])["detail"]
        assert set(detail["resources"]["ARN"]) == arns
        (target,) = events.list_targets_by_rule(Rule=rule["Name"])["Targets"]
        assert target["Arn"].startswith("arn:aws:sns:")
        calls.update(detail["eventName"])
    assert {"ScheduleKeyDeletion", "DisableKey", "PutKeyPolicy"} <= calls


def test_each_of_these_rules_has_an_alarm() -> None:
    resources = _resources()
    rules = {name for name, each in resources.items() if each["Type"] == "AWS::Events::Rule"}
    alarms = [each["Properties"] for each in resources.values() if each["Type"] == "AWS::CloudWatch::Alarm"]
    assert {alarm["Dimensions"][0]["Value"] for alarm in alarms} == rules
    assert all(alarm["AlarmActions"] == ["Alerts"] for alarm in alarms)


def test_the_service_runs_on_the_keys_of_the_stack(aws: str, database_url: str) -> None:
    settings = Settings(
        _env_file=None,
        aws_region=REGION,
        aws_access_key_id="test",
        aws_secret_access_key="test",
        aws_endpoint_url_kms=aws,
        database_url=database_url,
    )
    with running_services(settings) as services:
        wallet = complete(services.wallets.create_wallet(TESTER, "user"))
        assert (
            complete(services.wallets.get_private_key_for_user(TESTER, "user")).wallet_address
            == wallet.wallet_address
        )
        assert services.pool.reasons == {}


def test_deleting_the_stack_leaves_the_keys() -> None:
    keys = [each for each in _resources().values() if each["Type"] == "AWS::KMS::Key"]
    assert len(keys) == 10
    assert all(key["DeletionPolicy"] == key["UpdateReplacePolicy"] == "Retain" for key in keys)


class _Loader(yaml.CSafeLoader):
    """Reads CloudFormation's short functions as their argument."""


_Loader.add_multi_constructor("!", lambda _loader, _tag, node: node.value)


def _resources(file: Path = TEMPLATE) -> dict[str, Any]:
    template = yaml.load(file.read_text(), _Loader)  # noqa: S506 - a safe loader, extended
    resources: dict[str, Any] = template["Resources"]
    return resources
