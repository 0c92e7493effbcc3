"""Every overlay renders, is what Kubernetes takes, and its parts fit each other."""

import re
from typing import Any

import kubernetes_validate
import pytest

from tests.deploy.manifests import (
    FOLDERS,
    KUBERNETES,
    OVERLAYS,
    Object,
    containers,
    of_kind,
    rendered,
    templates,
)
from tests.deploy.restricted import violations

pytestmark = pytest.mark.kustomize

# Native sidecars came with 1.29.
VERSIONS = ("1.29", "1.31", "1.33", "1.35", "1.37")


def overlay(name: str) -> list[Object]:
    return rendered(f"overlays/{name}")


# The monitors are not Kubernetes' own.
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("folder", [folder for folder in FOLDERS if folder != "monitoring"])
def test_every_object_is_valid(folder: str, version: str) -> None:
    for item in rendered(folder):
        kubernetes_validate.validate(item, version, strict=True)


def test_a_misspelt_field_would_be_found() -> None:
    [deployment] = of_kind(overlay("replicas"), "Deployment")
    deployment["spec"]["template"]["spec"]["enableServiceLink"] = False
    with pytest.raises(kubernetes_validate.ValidationError, match="enableServiceLink"):
        kubernetes_validate.validate(deployment, VERSIONS[-1], strict=True)


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_pod_keeps_to_the_restricted_profile(folder: str) -> None:
    assert [
        problem for template in templates(rendered(folder)) for problem in violations(template["spec"])
    ] == []


@pytest.mark.parametrize(
    ("place", "value", "problem"),
    [
        ("hostNetwork", True, "hostNetwork"),
        ("automountServiceAccountToken", True, "a service account's token"),
        ("securityContext", {}, "may be root"),
        ("securityContext", {"runAsNonRoot": True, "runAsUser": 0}, "user 0"),
        ("securityContext", {"runAsNonRoot": True}, "no seccomp profile"),
        ("volumes", [{"name": "host", "hostPath": {"path": "/"}}], "volume hostPath"),
        ("containers.securityContext.allowPrivilegeEscalation", True, "privilege escalation"),
        ("containers.securityContext.readOnlyRootFilesystem", False, "a writable root file system"),
        ("containers.securityContext.privileged", True, "privileged"),
        ("containers.securityContext.capabilities", {"add": ["SYS_ADMIN"]}, "keeps capabilities"),
        ("containers.securityContext", {}, "privilege escalation"),
        ("containers.ports", [{"containerPort": 1, "hostPort": 1}], "hostPort 1"),
    ],
)
def test_a_pod_that_leaves_the_restricted_profile_would_be_found(
    place: str, value: object, problem: str
) -> None:
    [template] = templates(overlay("replicas"))
    *path, last = place.split(".")
    at: Any = template["spec"]
    for step in path:
        at = at[step][0] if isinstance(at[step], list) else at[step]
    at[last] = value
    assert problem in list(violations(template["spec"]))


@pytest.mark.parametrize("name", OVERLAYS)
def test_what_selects_pods_selects_some(name: str) -> None:
    objects = overlay(name)
    labels = [template["metadata"]["labels"] for template in templates(objects)]
    selectors = [
        item["spec"]["selector"]
        if item["kind"] == "Service"
        else item["spec"].get("podSelector", item["spec"].get("selector"))["matchLabels"]
        for item in of_kind(
            objects, "Service", "NetworkPolicy", "PodDisruptionBudget", "Deployment", "StatefulSet"
        )
    ]
    assert len(selectors) >= 3
    for selector in selectors:
        assert any(selector.items() <= of_pod.items() for of_pod in labels), selector


@pytest.mark.parametrize("name", OVERLAYS)
def test_ports_that_are_open_are_ports_of_the_server(name: str) -> None:
    objects = overlay(name)
    numbers = {
        port.get("name"): port["containerPort"]
        for template in templates(objects)
        for container in containers(template["spec"])
        for port in container.get("ports", ())
    }
    for service in of_kind(objects, "Service"):
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= numbers.keys()
    [policy] = of_kind(objects, "NetworkPolicy")
    opened = {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]}
    probed = {number for name, number in numbers.items() if name == "health"}
    assert opened == set(numbers.values()) - probed


@pytest.mark.parametrize("name", ["replicas", "sqlite"])
def test_a_client_is_let_in_for_one_label(name: str) -> None:
    [policy] = of_kind(overlay(name), "NetworkPolicy")
    [clients] = [rule["from"] for rule in policy["spec"]["ingress"] if rule["ports"] == [{"port": 50051}]]
    assert clients == [{"podSelector": {"matchLabels": {"factstr-client": "true"}}}]


def test_monitors_scrape_what_there_is() -> None:
    [service_monitor] = of_kind(rendered("monitoring"), "ServiceMonitor")
    [pod_monitor] = of_kind(rendered("monitoring"), "PodMonitor")
    for monitor in (service_monitor, pod_monitor):
        assert monitor["apiVersion"] == "monitoring.coreos.com/v1"
    assert set(service_monitor["spec"]) == {"selector", "endpoints"}
    assert set(pod_monitor["spec"]) == {"selector", "podMetricsEndpoints"}
    for name in ("sqlite", "replicas"):
        [service] = of_kind(overlay(name), "Service")
        assert service_monitor["spec"]["selector"]["matchLabels"] == service["metadata"]["labels"]
        [endpoint] = service_monitor["spec"]["endpoints"]
        assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    [template] = templates(overlay("sidecar"))
    assert pod_monitor["spec"]["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    [endpoint] = pod_monitor["spec"]["podMetricsEndpoints"]
    ports = [port for container in containers(template["spec"]) for port in container.get("ports", ())]
    assert endpoint["port"] in {port["name"] for port in ports}


def test_one_pod_has_the_sqlite_file() -> None:
    objects = overlay("sqlite")
    [server] = of_kind(objects, "StatefulSet")
    assert server["spec"]["replicas"] == 1
    [claim] = server["spec"]["volumeClaimTemplates"]
    assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]


def test_the_backup_runs_on_the_node_of_the_servers_volume() -> None:
    objects = overlay("sqlite")
    [server], [job] = of_kind(objects, "StatefulSet"), of_kind(objects, "CronJob")
    pod = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    [beside] = pod["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert beside["topologyKey"] == "kubernetes.io/hostname"
    assert beside["labelSelector"]["matchLabels"] == server["spec"]["selector"]["matchLabels"]
    claims = {volume["persistentVolumeClaim"]["claimName"] for volume in pod["volumes"]}
    [template] = server["spec"]["volumeClaimTemplates"]
    volume = f"{template['metadata']['name']}-{server['metadata']['name']}-0"
    made = {item["metadata"]["name"] for item in of_kind(objects, "PersistentVolumeClaim")}
    assert claims == made | {volume}


def test_monitors_name_the_job_that_alerts_watch() -> None:
    [service_monitor] = of_kind(rendered("monitoring"), "ServiceMonitor")
    [pod_monitor] = of_kind(rendered("monitoring"), "PodMonitor")
    alerts = (KUBERNETES.parent / "prometheus" / "alerts.yaml").read_text(encoding="utf-8")
    [job] = set(re.findall(r'job="(\w+)"', alerts))
    for endpoint in (*service_monitor["spec"]["endpoints"], *pod_monitor["spec"]["podMetricsEndpoints"]):
        assert endpoint["relabelings"] == [{"targetLabel": "job", "replacement": job}]


def test_a_backup_is_restored_with_the_volumes_image_and_paths_of_its_job() -> None:
    [pod], [job] = of_kind(rendered("restore"), "Pod"), of_kind(overlay("sqlite"), "CronJob")
    other = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert pod["spec"]["volumes"] == other["volumes"]
    [container], [backing_up] = pod["spec"]["containers"], other["containers"]
    for name in ("image", "volumeMounts"):
        assert container[name] == backing_up[name]


def test_every_folder_that_people_apply_renders() -> None:
    assert {folder: bool(rendered(folder)) for folder in FOLDERS} == dict.fromkeys(FOLDERS, True)
