"""The manifests as Kubernetes gets them: rendered, and looked up by kind."""

import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeAlias

import yaml

from tests.programs import PROGRAMS

Object: TypeAlias = dict[str, Any]

KUBERNETES: Final = Path(__file__).parents[2] / "deploy" / "kubernetes"
OVERLAYS: Final = sorted(folder.name for folder in (KUBERNETES / "overlays").iterdir())
FOLDERS: Final = (*(f"overlays/{name}" for name in OVERLAYS), "monitoring", "restore")
"""All that people apply."""


@cache
def _rendered(folder: str) -> str:
    program = PROGRAMS["kustomize"].found()
    assert program
    command = [program, "kustomize" if Path(program).name == "kubectl" else "build", str(KUBERNETES / folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    return done.stdout


def rendered(folder: str) -> list[Object]:
    """A copy of its own for every caller."""
    return list(yaml.safe_load_all(_rendered(folder)))


def of_kind(objects: list[Object], *kinds: str) -> list[Object]:
    return [item for item in objects if item["kind"] in kinds]


def templates(objects: list[Object]) -> Iterator[Object]:
    """The pods, and those that controllers make: their metadata and spec."""
    yield from of_kind(objects, "Pod")
    for item in of_kind(objects, "Deployment", "StatefulSet"):
        yield item["spec"]["template"]
    for item in of_kind(objects, "CronJob"):
        yield item["spec"]["jobTemplate"]["spec"]["template"]


def containers(pod: Object) -> list[Object]:
    """All containers of a pod's spec."""
    return [*pod.get("initContainers", ()), *pod["containers"]]


def server_of(objects: list[Object]) -> tuple[Object, Object]:
    """The pod's spec that the server runs in, and its container."""
    return next(
        (template["spec"], container)
        for template in templates(objects)
        for container in containers(template["spec"])
        if container["name"] == "factstr"
    )
