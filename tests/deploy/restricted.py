"""What a pod may not have under Kubernetes' Pod Security profile `restricted`, and what ours do without beyond that."""

from collections.abc import Iterator
from typing import Any, Final

from tests.deploy.manifests import Object, containers

_VOLUMES: Final = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}


def violations(pod: Object) -> Iterator[str]:
    """Of a pod's spec."""
    yield from (name for name in ("hostNetwork", "hostPID", "hostIPC") if pod.get(name))
    for volume in pod.get("volumes", ()):
        yield from (f"volume {kind}" for kind in volume.keys() - _VOLUMES - {"name"})
    yield from _of_context(pod.get("securityContext", {}))
    if pod.get("automountServiceAccountToken") is not False:
        yield "a service account's token"
    for container in containers(pod):
        yield from _of_container(container, pod.get("securityContext", {}))


def _of_container(container: Object, above: Object) -> Iterator[str]:
    own = container.get("securityContext", {})
    capabilities = own.get("capabilities", {})
    yield from _of_context(own)
    if {**above, **own}.get("runAsNonRoot") is not True:
        yield "may be root"
    if {**above, **own}.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
        yield "no seccomp profile"
    if capabilities.get("drop") != ["ALL"]:
        yield "keeps capabilities"
    yield from (f"capability {name}" for name in capabilities.get("add", ()) if name != "NET_BIND_SERVICE")
    if own.get("allowPrivilegeEscalation") is not False:
        yield "privilege escalation"
    if own.get("readOnlyRootFilesystem") is not True:
        yield "a writable root file system"
    yield from ("privileged" for _ in range(1) if own.get("privileged"))
    yield from (f"hostPort {port['hostPort']}" for port in container.get("ports", ()) if "hostPort" in port)


def _of_context(context: dict[str, Any]) -> Iterator[str]:
    """Of a pod's or of a container's."""
    if context.get("runAsUser") == 0:
        yield "user 0"
    yield from (name for name in ("seLinuxOptions", "sysctls", "windowsOptions") if name in context)
    if context.get("procMount", "Default") != "Default":
        yield "procMount"
