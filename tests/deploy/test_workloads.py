"""What Kubernetes and ECS start: real commands and settings, least privilege, and time to drain."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from authority import SERVER, Authority
from kms_service import __version__
from kms_service.cli.root import root
from kms_service.settings import GRACE_SECONDS, Settings, load_database_settings, load_settings
from workloads import DEPLOY, KUBERNETES, PARTS, PODS, TASKS, WORKLOADS, Workload, documents

DOCKERFILE = (DEPLOY.parent / "Dockerfile").read_text()
IMAGE = f"registry.example.com/kms-service:{__version__}"
DATABASE_URL = "postgresql://user:password@database:5432/wallets?sslmode=verify-full"
# After the last request: the audit chains end, and the worker of rotations lets its batch go.
CLOSING_SECONDS = 10

each_workload = pytest.mark.parametrize("workload", WORKLOADS.values(), ids=WORKLOADS)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return Authority(tmp_path_factory.mktemp("authority"), "ours").issue("server", SERVER)


def test_the_image_is_this_version() -> None:
    (component,) = documents(KUBERNETES / "common/kustomization.yaml")
    (image,) = component["images"]
    assert f"{image['newName']}:{image['newTag']}" == IMAGE
    assert {pod["spec"]["containers"][0]["image"] for pod in PODS.values()} == {image["name"]}
    assert {task["containerDefinitions"][0]["image"] for task in TASKS.values()} == {IMAGE}


@each_workload
def test_every_command_is_one_of_the_command_line(workload: Workload) -> None:
    assert CliRunner().invoke(root, [*workload.command, "--help"]).exit_code == 0
    assert 'ENTRYPOINT ["kms-service"]' in DOCKERFILE


@each_workload
def test_every_setting_exists_and_all_that_are_required_are_given(
    workload: Workload, monkeypatch: pytest.MonkeyPatch, certificate: tuple[Path, Path]
) -> None:
    files = dict(zip(("TLS_CERT_FILE", "TLS_KEY_FILE"), map(str, certificate), strict=True))
    given = workload.environment | {name: files[name] for name in files.keys() & workload.environment}
    assert given.keys() <= {name.upper() for name in Settings.model_fields}
    for name, value in {**given, "DATABASE_URL": DATABASE_URL}.items():
        monkeypatch.setenv(name, value)
    if workload.command == ["migrate"]:
        assert load_database_settings(None).database_url.get_secret_value() == DATABASE_URL
    else:
        load_settings(None, aws_access_key_id="of", aws_secret_access_key="the role")


@each_workload
def test_each_workload_has_the_database_login_of_its_role_by_reference(workload: Workload) -> None:
    login = {
        "serve": "serve-url",
        "migrate": "migrate-url",
        "rotation": "rotate-url",
        "verify": "serve-url",
    }[workload.command[0]]
    assert workload.environment["DATABASE_URL"] == f"secret {login}"
    assert not {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"} & set(workload.environment)


@pytest.mark.parametrize("part", PARTS)
def test_no_container_can_do_more_than_run(part: str) -> None:
    (user,) = re.findall(r"^USER (\d+):\1$", DOCKERFILE.partition(" AS service")[2], re.MULTILINE)
    pod = PODS[part]["spec"]
    assert (pod["securityContext"]["runAsNonRoot"], pod["automountServiceAccountToken"]) == (True, False)
    assert pod["securityContext"]["runAsUser"] == pod["securityContext"]["runAsGroup"] == int(user)
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["containers"][0]["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    (container,) = TASKS[part]["containerDefinitions"]
    assert (container["user"], container["readonlyRootFilesystem"]) == (f"{user}:{user}", True)
    assert container["linuxParameters"] == {"capabilities": {"drop": ["ALL"]}}


@pytest.mark.parametrize("name", ["kubernetes serve", "ecs serve"])
def test_there_is_time_to_drain(name: str) -> None:
    environment, defaults = WORKLOADS[name].environment, Settings.model_fields
    seconds = sum(
        float(environment.get(field.upper(), defaults[field].default))
        for field in ("shutdown_delay_seconds", "request_deadline_seconds")
    )
    assert WORKLOADS[name].grace_seconds >= seconds + GRACE_SECONDS + CLOSING_SECONDS
