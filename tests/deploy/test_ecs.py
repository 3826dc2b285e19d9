"""ECS: AWS's own model of the call, and moto, accept each task definition."""

from typing import Any

import boto3
import botocore.session
import pytest
from botocore.validate import ParamValidator
from moto import mock_aws

from workloads import TASKS, WORKLOADS


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_each_task_definition_can_be_registered(task: dict[str, Any]) -> None:
    model = botocore.session.get_session().get_service_model("ecs").operation_model("RegisterTaskDefinition")
    assert model.input_shape is not None
    report = ParamValidator().validate(task, model.input_shape)
    assert not report.has_errors(), report.generate_report()
    with mock_aws():
        registered = boto3.client("ecs", "eu-central-1").register_task_definition(**task)["taskDefinition"]
    assert (registered["family"], registered["status"]) == (task["family"], "ACTIVE")


def test_nothing_has_to_be_written_where_there_is_no_tmpfs() -> None:
    """Only workers that share metrics write, and Fargate has neither tmpfs nor a volume for them."""
    assert WORKLOADS["ecs serve"].environment["WORKERS"] == "1"


def test_only_what_calls_kms_has_a_task_role() -> None:
    with_role = {part for part, task in TASKS.items() if "taskRoleArn" in task}
    assert with_role == {"serve", "rotation-worker", "region-drill"}


def test_the_health_check_asks_for_life_on_the_port_that_is_mapped() -> None:
    (container,) = TASKS["serve"]["containerDefinitions"]
    (mapping,) = container["portMappings"]
    assert mapping["containerPort"] == 3001
    assert "os.environ['PORT'] + '/livez'" in container["healthCheck"]["command"][-1]
