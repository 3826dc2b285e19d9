"""What the Kubernetes manifests and the ECS task definitions pass to the containers that they start."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).parents[1] / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
PARTS = ("serve", "migrate", "rotation-worker", "region-drill")


def documents(path: Path) -> list[dict[str, Any]]:
    """The YAML documents of a file."""
    return list(yaml.safe_load_all(path.read_text()))


OBJECTS = [
    each
    for file in sorted(KUBERNETES.glob("*/*.yaml"))
    if file.name != "kustomization.yaml"
    for each in documents(file)
]
TASKS = {part: json.loads((DEPLOY / "ecs" / f"{part}.json").read_text()) for part in PARTS}


def only(kind: str, name: str = "") -> dict[str, Any]:
    """The one Kubernetes object of this kind whose name ends with `name`."""
    (found,) = [each for each in OBJECTS if each["kind"] == kind and each["metadata"]["name"].endswith(name)]
    return found


PODS: dict[str, dict[str, Any]] = {
    "serve": only("Deployment")["spec"]["template"],
    "migrate": only("Job", "migrate")["spec"]["template"],
    "rotation-worker": only("Job", "rotation-worker")["spec"]["template"],
    "region-drill": only("CronJob", "region-drill")["spec"]["jobTemplate"]["spec"]["template"],
}


@dataclass(frozen=True)
class Workload:
    """What a container gets, whatever starts it. Secrets are in `environment` with their reference."""

    command: list[str]
    environment: dict[str, str]
    grace_seconds: int


def _of_pod(pod: dict[str, Any]) -> Workload:
    (container,) = pod["spec"]["containers"]
    environment = dict[str, str]()
    for source in container.get("envFrom", []):
        assert source == {"configMapRef": {"name": "kms-service-settings"}}
        lines = (KUBERNETES / "common/settings.env").read_text().splitlines()
        environment |= dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    for variable in container["env"]:
        reference = variable.get("valueFrom", {}).get("secretKeyRef")
        environment[variable["name"]] = f"secret {reference['key']}" if reference else variable["value"]
    return Workload(container["args"], environment, pod["spec"]["terminationGracePeriodSeconds"])


def _of_task(task: dict[str, Any]) -> Workload:
    (container,) = task["containerDefinitions"]
    environment = {each["name"]: each["value"] for each in container["environment"]}
    secrets = {each["name"]: f"secret {each['valueFrom'].split('/')[-1]}" for each in container["secrets"]}
    assert not environment.keys() & secrets.keys()
    return Workload(container["command"], environment | secrets, container["stopTimeout"])


WORKLOADS = {f"kubernetes {part}": _of_pod(pod) for part, pod in PODS.items()} | {
    f"ecs {part}": _of_task(task) for part, task in TASKS.items()
}
