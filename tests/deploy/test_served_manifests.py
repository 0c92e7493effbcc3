"""The manifests against the server: what they set exists and makes sense to it, and their probes and commands work."""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import trustme

from factstr_server.cli import main
from factstr_server.cli.health import health
from factstr_server.server import running
from tests.backups.damaging import damage
from tests.deploy.image import port_of, said, settings_of
from tests.deploy.manifests import (
    KUBERNETES,
    OVERLAYS,
    Object,
    containers,
    of_kind,
    rendered,
    server_of,
    templates,
)
from tests.waiting import wait_until

pytestmark = pytest.mark.kustomize

NETWORKED = [name for name in OVERLAYS if name != "sidecar"]
PROBES = ("startupProbe", "livenessProbe", "readinessProbe")


def server(name: str) -> tuple[Object, Object]:
    return server_of(rendered(f"overlays/{name}"))


def help_of(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main([*words, "--help"])
    assert ended.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_variable_of_the_server_is_one_of_its_flags(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = re.findall(r"^  (--[a-z-]+)", help_of(capsys), re.MULTILINE)
    known = {"FACTSTR_" + flag.strip("-").replace("-", "_").upper() for flag in flags}
    _, container = server(name)
    assert {entry["name"] for entry in container["env"]} - {"PGPASSWORD"} <= known


@pytest.mark.parametrize("name", NETWORKED)
def test_the_network_is_served_over_tls_to_those_with_a_token(name: str) -> None:
    pod, container = server(name)
    settings = settings_of(container)
    mounted = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    secrets = {volume["name"]: volume["secret"]["secretName"] for volume in pod["volumes"]}
    files = (settings.tls_cert, settings.tls_key, settings.tokens_file)
    assert [secrets[mounted[str(Path(str(file)).parent)]] for file in files] == [
        "factstr-tls",
        "factstr-tls",
        "factstr-tokens",
    ]
    assert not settings.insecure


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_ports_are_those_that_the_server_opens(name: str) -> None:
    _, container = server(name)
    settings = settings_of(container)
    addresses = [*settings.listen, settings.health_listen, settings.metrics_listen]
    opened = [port_of(address) for address in addresses if address and not address.startswith("unix:")]
    assert [port["containerPort"] for port in container["ports"]] == opened
    for kind in PROBES:
        if "grpc" in container[kind]:
            assert container[kind]["grpc"]["port"] == port_of(settings.health_listen)


@pytest.mark.parametrize("name", OVERLAYS)
def test_pods_have_the_images_user_and_time_to_drain(name: str) -> None:
    user, group = map(int, said("USER").split(":"))
    pod, container = server(name)
    for template in templates(rendered(f"overlays/{name}")):
        for each in containers(template["spec"]):
            context = {**template["spec"]["securityContext"], **each["securityContext"]}
            assert (context["runAsUser"], context["runAsGroup"]) == (user, group)
    assert pod["terminationGracePeriodSeconds"] > settings_of(container).drain.total_seconds()


def test_the_sqlite_file_is_on_the_volume() -> None:
    _, container = server("sqlite")
    mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounted["data"] == said("VOLUME")
    assert settings_of(container).store.startswith(f"sqlite:///{mounted['data']}/")


def test_the_sidecar_and_its_application_share_the_socket_and_the_user() -> None:
    pod, container = server("sidecar")
    [application] = pod["containers"]
    [target] = [entry["value"] for entry in application["env"] if entry["name"] == "FACTSTR_TARGET"]
    assert settings_of(container).listen == (target,)
    assert container["volumeMounts"] == application["volumeMounts"]
    assert Path(target.removeprefix("unix:")).parent == Path(container["volumeMounts"][0]["mountPath"])
    assert container["restartPolicy"] == "Always"
    assert container in pod["initContainers"]


@pytest.mark.parametrize("name", OVERLAYS)
def test_only_readiness_depends_on_the_store(name: str) -> None:
    _, container = server(name)
    assert [service_of(container[kind]) for kind in ("livenessProbe", "readinessProbe")] == [
        "",
        "factstr.v1.EventStoreService",
    ]


def service_of(probe: Object) -> str:
    if "grpc" in probe:
        return str(probe["grpc"].get("service", ""))
    command = probe["exec"]["command"]
    return command[command.index("--service") + 1] if "--service" in command else ""


@pytest.mark.parametrize("name", NETWORKED)
async def test_the_probes_find_a_server_with_tls_and_tokens(name: str, tmp_path: Path) -> None:
    certificate = trustme.CA().issue_cert("localhost")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "tls.crt")
    certificate.private_key_pem.write_to_path(tmp_path / "tls.key")
    (tmp_path / "tokens").write_text("certificate somebody somebody admin\n")
    _, container = server(name)
    free = "127.0.0.1:0"
    settings = replace(
        settings_of(container),
        store="memory:",
        listen=(free,),
        health_listen=free,
        metrics_listen=free,
        tls_cert=str(tmp_path / "tls.crt"),
        tls_key=str(tmp_path / "tls.key"),
        tokens_file=str(tmp_path / "tokens"),
    )
    async with running(settings) as served:
        for kind in PROBES:
            asked = ["--target", str(served.health_address), "--service", service_of(container[kind])]
            await asyncio.to_thread(health, asked, {})


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The sidecar's variables, with a folder and a store of the test's own, and its commands on the path."""
    _, container = server("sidecar")
    given = {entry["name"]: entry.get("value", "memory:") for entry in container["env"]}
    given["FACTSTR_LISTEN"] = given["FACTSTR_LISTEN"].replace("/run/factstr", str(tmp_path))
    return {**given, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}"}


@pytest.fixture
def sidecar(environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["factstr-server"], env=environment, stderr=subprocess.DEVNULL) as process:
        yield process
        process.terminate()
        assert process.wait(30) == 0


def test_the_probes_find_a_sidecar(sidecar: subprocess.Popen[bytes], environment: dict[str, str]) -> None:
    _, container = server("sidecar")

    def answers(kind: str) -> bool:
        command = container[kind]["exec"]["command"]
        return not subprocess.run(command, env=environment, capture_output=True, check=False).returncode

    wait_until(lambda: answers("startupProbe") or sidecar.poll() is not None, "the sidecar has started")
    assert [answers(kind) for kind in PROBES] == [True, True, True]


def backing_up() -> list[str]:
    [job] = of_kind(rendered("overlays/sqlite"), "CronJob")
    [container] = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    command: list[str] = container["command"]
    return command


def on_path() -> dict[str, str]:
    return {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}"}


@pytest.fixture
def volumes(tmp_path: Path) -> dict[str, Path]:
    """Folders instead of them, by the paths that containers see: a store, and nine old backups and three leftovers."""
    data, backups = tmp_path / "data", tmp_path / "backups"
    data.mkdir()
    backups.mkdir()
    for day, name in enumerate(
        [
            *(f"{night}.db" for night in range(9)),
            "killed.db.partial",
            "killed.db.partial.lock",
            "just.db.partial",
        ]
    ):
        (backups / name).touch()
        if not name.startswith("just"):
            os.utime(backups / name, (day, day))
    store = {"FACTSTR_STORE": f"sqlite:///{data}/factstr.db"}
    subprocess.run(["factstr-server", "migrate"], env={**on_path(), **store}, check=True)
    return {said("VOLUME"): data, "/backups": backups}


def on(volumes: dict[str, Path], command: list[str]) -> subprocess.CompletedProcess[str]:
    *words, script = command
    for path, folder in volumes.items():
        script = script.replace(path, str(folder))
    return subprocess.run([*words, script], env=on_path(), capture_output=True, text=True, check=False)


def test_a_night_of_backups_keeps_the_newest_seven(volumes: dict[str, Path]) -> None:
    done = on(volumes, backing_up())
    assert done.returncode == 0, done.stderr
    assert [line.partition(" ")[0] for line in done.stdout.splitlines()] == ["backed", "ok:"]
    new, *others = sorted(path.name for path in volumes["/backups"].iterdir())
    assert re.fullmatch(r"\d{4}-\d\d-\d\d-\d{6}\.db", new)
    assert others == ["3.db", "4.db", "5.db", "6.db", "7.db", "8.db", "just.db.partial"]


def test_no_backup_goes_for_one_that_is_damaged(volumes: dict[str, Path]) -> None:
    before = set(volumes["/backups"].iterdir())
    damage(volumes[said("VOLUME")] / "factstr.db", "DELETE FROM store")
    done = on(volumes, backing_up())
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("factstr-server: ")
    assert before < set(volumes["/backups"].iterdir())


def test_a_backup_is_restored_as_the_documentation_says(volumes: dict[str, Path]) -> None:
    on(volumes, backing_up())
    made = max(path.name for path in volumes["/backups"].iterdir() if path.name.startswith("2"))
    text = (KUBERNETES.parents[1] / "docs" / "kubernetes.md").read_text(encoding="utf-8").replace("\\\n", "")
    told = re.findall(r"^    kubectl -n facts exec factstr-restore -- (.*)$", text, re.MULTILINE)
    [pod] = of_kind(rendered("restore"), "Pod")
    assert pod["metadata"]["name"] == "factstr-restore"
    assert len(told) == 3
    for line in told:
        done = on(volumes, ["sh", "-ec", re.sub(r"\d{4}-\d\d-\d\d-\d{6}\.db", made, line)])
        assert done.returncode == 0, done.stderr
    data = volumes[said("VOLUME")]
    assert (data / "factstr.db").exists()
    assert (data / "lost" / "factstr.db").exists()
    assert done.stdout.splitlines()[-1].startswith("restored to ")
