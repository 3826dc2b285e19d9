"""Kubernetes: every field exists, the parts fit, and probes and ports are those of the service."""

import shutil
import subprocess
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import msgspec
import pytest
import yaml

from event_loop import complete
from kms_service.api.app import create_app
from kms_service.bootstrap import build
from kms_service.settings import Settings
from workloads import KUBERNETES, OBJECTS, PARTS, PODS, WORKLOADS, documents, only


@pytest.mark.parametrize("each", OBJECTS, ids=lambda each: f"{each['kind']} {each['metadata']['name']}")
def test_every_field_is_known(each: dict[str, Any]) -> None:
    """The models made from Kubernetes' own API description read it, and it comes back whole."""
    group, _, version = each["apiVersion"].rpartition("/")
    models = import_module(f"lightkube.models.{(group or 'core').split('.')[0]}_{version}")
    read = msgspec.convert(each, getattr(models, each["kind"]))
    assert msgspec.to_builtins(read) == each


@pytest.mark.parametrize("part", PARTS)
def test_each_part_is_built_from_the_files_that_are_there(part: str) -> None:
    for folder in (part, "common"):
        (kustomization,) = documents(KUBERNETES / folder / "kustomization.yaml")
        there = {file.name for file in (KUBERNETES / folder).iterdir()}
        assert {*kustomization["resources"], "kustomization.yaml", "settings.env"} >= there
        assert set(kustomization["resources"]) <= there
    assert documents(KUBERNETES / part / "kustomization.yaml")[0]["components"] == ["../common"]


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
@pytest.mark.parametrize("part", PARTS)
def test_kustomize_gives_each_part_the_settings_and_the_image(part: str) -> None:
    command = ["kubectl", "kustomize", str(KUBERNETES / part)]
    built = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - our own manifests
    made = list(yaml.safe_load_all(built.stdout))
    assert {each["metadata"].get("namespace", "kms-service") for each in made} == {"kms-service"}
    (settings,) = [each["metadata"]["name"] for each in made if each["kind"] == "ConfigMap"]
    specs = [each["spec"] for each in made if each["kind"] in {"Deployment", "Job", "CronJob"}]
    (pod,) = [spec.get("jobTemplate", {}).get("spec", spec)["template"]["spec"] for spec in specs]
    (container,) = pod["containers"]
    assert container["image"].startswith("registry.example.com/")
    assert [each["configMapRef"]["name"] for each in container.get("envFrom", [])] in ([], [settings])


def test_the_only_writable_folder_is_in_memory() -> None:
    for pod in PODS.values():
        volumes = {each["name"]: each for each in pod["spec"]["volumes"]}
        mounts = pod["spec"]["containers"][0]["volumeMounts"]
        assert [each["name"] for each in mounts if not each.get("readOnly")] == ["tmp"]
        assert volumes["tmp"]["emptyDir"]["medium"] == "Memory"
        assert {each["name"] for each in mounts} == volumes.keys()


def test_ports_and_probes_are_those_of_the_service(settings: Settings) -> None:
    (container,) = PODS["serve"]["spec"]["containers"]
    environment = WORKLOADS["kubernetes serve"].environment
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"http": settings.port, "metrics": int(environment["METRICS_PORT"])}
    assert PODS["serve"]["metadata"]["annotations"]["prometheus.io/port"] == environment["METRICS_PORT"]
    (service_port,) = only("Service")["spec"]["ports"]
    assert (service_port["port"], service_port["targetPort"]) == (settings.port, "http")
    services = build(settings)
    paths = create_app(services, owns_process=False).openapi()["paths"]
    complete(services.close())
    probes = {kind: container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")}
    assert {kind: probe["path"] for kind, probe in probes.items()} == {
        "startup": "/livez",
        "liveness": "/livez",
        "readiness": "/readyz",
    }
    assert all(probe["path"] in paths for probe in probes.values())
    assert "TLS_CERT_FILE" in environment
    assert {(probe["port"], probe["scheme"]) for probe in probes.values()} == {("http", "HTTPS")}


def test_a_pod_is_out_of_rotation_before_it_refuses_connections() -> None:
    probe = PODS["serve"]["spec"]["containers"][0]["readinessProbe"]
    delay = float(WORKLOADS["kubernetes serve"].environment["SHUTDOWN_DELAY_SECONDS"])
    assert delay > probe["periodSeconds"] * probe["failureThreshold"]


def test_the_network_lets_in_callers_and_prometheus_and_out_to_the_database_and_aws() -> None:
    policies = {each["metadata"]["name"]: each["spec"] for each in OBJECTS if each["kind"] == "NetworkPolicy"}
    nothing = policies.pop("nothing-else")
    assert (nothing["podSelector"], set(nothing["policyTypes"])) == ({}, {"Ingress", "Egress"})
    assert not {"ingress", "egress"} & nothing.keys()

    def open_ports(direction: str, part: str) -> set[int | str]:
        labels = PODS[part]["metadata"]["labels"]
        return {
            port["port"]
            for policy in policies.values()
            if selects(policy["podSelector"], labels)
            for rule in policy.get(direction, [])
            for port in rule["ports"]
        }

    assert open_ports("ingress", "serve") == {"http", "metrics"}
    assert open_ports("ingress", "migrate") == open_ports("ingress", "rotation-worker") == set()
    assert open_ports("egress", "serve") == open_ports("egress", "rotation-worker") == {53, 5432, 443}
    assert open_ports("egress", "migrate") == {53, 5432}
    peers = [peer for policy in policies.values() for rule in policy.get("egress", []) for peer in rule["to"]]
    assert all(peer.get("ipBlock", {}).get("cidr") != "0.0.0.0/0" for peer in peers)


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a label selector chooses a pod with these labels."""
    expressions = selector.get("matchExpressions", [])
    assert all(each["operator"] == "In" for each in expressions)
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        labels.get(each["key"]) in each["values"] for each in expressions
    )


def test_selectors_choose_the_serving_pods_and_a_disruption_leaves_some() -> None:
    labels = PODS["serve"]["metadata"]["labels"]
    deployment, budget = only("Deployment")["spec"], only("PodDisruptionBudget")["spec"]
    spread = PODS["serve"]["spec"]["topologySpreadConstraints"]
    chosen = [deployment["selector"], budget["selector"], *(each["labelSelector"] for each in spread)]
    assert [selector["matchLabels"] for selector in chosen] == [labels] * 4
    assert only("Service")["spec"]["selector"] == labels
    assert budget["maxUnavailable"] < deployment["replicas"]


def test_only_what_calls_kms_has_a_role_of_aws() -> None:
    accounts = {each["metadata"]["name"]: each for each in OBJECTS if each["kind"] == "ServiceAccount"}
    nightly = only("CronJob", "reconcile")["spec"]["jobTemplate"]["spec"]["template"]
    used = {pod["spec"]["serviceAccountName"] for pod in (*PODS.values(), nightly)}
    assert used == accounts.keys()
    with_role = [name for name, each in accounts.items() if "annotations" in each["metadata"]]
    assert sorted(with_role) == ["kms-service", "kms-service-audit", "kms-service-rotation-worker"]
