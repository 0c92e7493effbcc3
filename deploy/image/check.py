"""Builds the image and tries what it promises: it runs as its user with nothing but its volume to write to, both
commands work in it, and SIGTERM ends it in order.

Where no container engine answers, the image's own steps run in a folder, and what they make runs in namespaces that
stand in for a container, on this machine's Python and libraries; that takes root on Linux. Which of the two was
done is said first and last. Needs nothing but Python.
"""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
DOCKERFILE: Final = (ROOT / "Dockerfile").read_text(encoding="utf-8")
USER, GROUP = re.findall(r"^USER (\d+):(\d+)$", DOCKERFILE, re.MULTILINE)[0]
VARIABLES: Final = re.findall(r"\bFACTSTR_[A-Z_]+=\S+", DOCKERFILE)
METRICS: Final = (
    "import urllib.request as web; print(web.urlopen('http://127.0.0.1:9464/metrics').read().decode())"
)
STARTED_WITHIN_SECONDS: Final = 60
STOPPED_WITHIN_SECONDS: Final = 30


class Container(ABC):
    """The image, and one container of it."""

    kind: str

    @abstractmethod
    def build(self) -> None: ...

    @abstractmethod
    def start(self) -> None: ...

    @abstractmethod
    def inside(self, *command: str) -> list[str]:
        """The words that run a command beside the server."""

    @abstractmethod
    def stop(self) -> int:
        """Sends SIGTERM. Returns the server's exit code."""

    @abstractmethod
    def log(self) -> str: ...

    @abstractmethod
    def remove(self) -> None: ...


class EngineContainer(Container):
    def __init__(self, engine: str) -> None:
        self.kind = f"built and run by {engine}"
        self._engine = engine
        self._id = ""

    def build(self) -> None:
        run(self._engine, "build", "--tag", "factstr:check", str(ROOT))

    def start(self) -> None:
        limits = ["--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges"]
        self._id = self._say("run", "--detach", *limits, "--env=FACTSTR_INSECURE=1", "factstr:check").strip()

    def inside(self, *command: str) -> list[str]:
        return [self._engine, "exec", self._id, *command]

    def stop(self) -> int:
        self._say("stop", f"--time={STOPPED_WITHIN_SECONDS}", self._id)
        return int(self._say("inspect", "--format={{.State.ExitCode}}", self._id))

    def log(self) -> str:
        return self._say("logs", self._id) if self._id else ""

    def remove(self) -> None:
        if self._id:
            # With its volume, which has no name.
            self._say("rm", "--force", "--volumes", self._id)

    def _say(self, *words: str) -> str:
        return subprocess.run(
            [self._engine, *words], check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ).stdout


class NamespaceContainer(Container):
    kind = "built in a folder and run in namespaces, for want of a container engine"

    def __init__(self, folder: Path) -> None:
        self._source = folder / "source"
        self._root = folder / "root"
        self._log = folder / "log"
        # Scripts in it name it: where it is made, there it must stay. In the image that is /opt/factstr.
        self._environment = folder / "factstr"
        # Debian's is below /usr, where any user may run it.
        self._python = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable
        self._process: subprocess.Popen[bytes] | None = None

    def build(self) -> None:
        self._copy_source()
        steps = self._source / "deploy" / "image"
        for step in ("install-libraries", "install-factstr"):
            run(str(steps / step), str(self._environment), self._python)
        for place in ("usr/local/lib/python3.x/ensurepip", "proc", "dev", str(self._environment)[1:]):
            (self._root / place).mkdir(parents=True)
        run(str(steps / "finish"), str(self._root))
        if (self._root / "usr/local/lib/python3.x/ensurepip").exists():
            raise Broken("its last step leaves ensurepip")
        for link in Path("/").iterdir():
            if link.is_symlink() and link.readlink().is_relative_to("usr"):
                (self._root / link.name).symlink_to(link.readlink())

    def _copy_source(self) -> None:
        """What an engine's build sees of the repository."""
        for path in re.findall("^!(.*)$", (ROOT / ".dockerignore").read_text(encoding="utf-8"), re.MULTILINE):
            place = self._source / path
            place.parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / path).is_dir():
                shutil.copytree(ROOT / path, place, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / path, place)

    def start(self) -> None:
        namespaces = ["unshare", "--mount", "--pid", "--net", "--fork"]
        contain = [
            str(Path(__file__).with_name("contain")),
            str(self._root),
            str(self._environment),
            self._python,
        ]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*namespaces, *contain, *self._as_in_image("factstr-server")], stdout=log, stderr=log
            )

    def inside(self, *command: str) -> list[str]:
        enter = ["nsenter", f"--target={self._first_process()}", "--mount", "--pid", "--net", "--root"]
        return [*enter, *self._as_in_image(*command)]

    def stop(self) -> int:
        assert self._process
        os.kill(self._first_process(), signal.SIGTERM)
        return self._process.wait(STOPPED_WITHIN_SECONDS)

    def log(self) -> str:
        return self._log.read_text() if self._log.exists() else ""

    def remove(self) -> None:
        if self._process and self._process.poll() is None:
            # Not unshare: the server would outlive it, because what has changed its user is not killed with its parent.
            os.kill(self._first_process(), signal.SIGKILL)
            self._process.wait()

    def _first_process(self) -> int:
        """Its number outside; unshare's own until there is one."""
        assert self._process
        unshare = self._process.pid
        return int(Path(f"/proc/{unshare}/task/{unshare}/children").read_text() or unshare)

    def _as_in_image(self, *command: str) -> list[str]:
        """A command with the image's variables, folder and user, and without any capability."""
        variables = [f"PATH={self._environment}/bin:/usr/bin", *VARIABLES, "FACTSTR_INSECURE=1"]
        user = [f"--reuid={USER}", f"--regid={GROUP}", "--clear-groups"]
        rights = ["--inh-caps=-all", "--bounding-set=-all", "--no-new-privs"]
        enter = ["/usr/bin/env", "-i", "--chdir=/var/lib/factstr", *variables]
        return [*enter, "setpriv", *user, *rights, *command]


def check(container: Container) -> None:
    container.build()
    container.start()
    deadline = time.monotonic() + STARTED_WITHIN_SECONDS
    while (alive := ran(container, "factstr-server", "health")).returncode:
        if time.monotonic() > deadline:
            raise Broken(f"it does not come up: {said(alive)}")
        time.sleep(0.2)

    asked(
        container, "factstr-server", "health", "--service", "factstr.v1.EventStoreService", expected="SERVING"
    )
    asked(
        container,
        "factstr",
        "append",
        "--type",
        "image-checked",
        "--payload",
        '{"by": "check"}',
        expected="1",
    )
    asked(container, "factstr", "query", expected="image-checked")
    asked(container, "ls", "/var/lib/factstr", expected="factstr.db")
    asked(container, "id", expected=f"uid={USER}(factstr) gid={GROUP}(factstr) groups={GROUP}(factstr)")
    asked(container, "python", "-c", METRICS, expected="grpc_server_handled_total")
    asked(container, "python", "-c", "import opentelemetry.sdk")
    for folder in ("", "/usr", "/etc"):
        refused(container, "touch", f"{folder}/written", because="Read-only file system")
    for module in ("pip", "hatchling", "pytest", "mypy"):
        refused(container, "python", "-c", f"import {module}", because="ModuleNotFoundError")
    if code := container.stop():
        raise Broken(f"SIGTERM ended it with {code} instead of 0")


class Broken(Exception):
    """What the image does not do."""


def ran(container: Container, *command: str) -> subprocess.CompletedProcess[str]:
    """A command, run inside."""
    return subprocess.run(container.inside(*command), capture_output=True, text=True, check=False)


def asked(container: Container, *command: str, expected: str = "") -> None:
    done = ran(container, *command)
    if done.returncode or expected not in done.stdout:
        raise Broken(f"{shlex.join(command)} ends with {done.returncode} and {said(done)!r}")


def refused(container: Container, *command: str, because: str) -> None:
    done = ran(container, *command)
    if not done.returncode or because not in done.stderr:
        raise Broken(
            f"{shlex.join(command)} should fail with {because!r}; it ends with {done.returncode} and {said(done)!r}"
        )


def said(done: subprocess.CompletedProcess[str]) -> str:
    """Its last line."""
    return (done.stdout + done.stderr).strip().rpartition("\n")[2]


def run(*words: str) -> None:
    subprocess.run(words, check=True, cwd=ROOT, stdin=subprocess.DEVNULL)


def container_for(folder: Path) -> Container:
    for engine in ("docker", "podman"):
        if (
            shutil.which(engine)
            and not subprocess.run([engine, "info"], capture_output=True, check=False).returncode
        ):
            return EngineContainer(engine)
    if sys.platform != "linux" or os.geteuid() or not shutil.which("unshare"):
        sys.exit("check-image: neither docker nor podman answers, and without them it takes root on Linux")
    return NamespaceContainer(folder)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # The image's user finds its way through it.
        folder.chmod(0o755)
        container = container_for(folder)
        print(f"The image: {container.kind}", flush=True)
        try:
            check(container)
        except (Broken, subprocess.CalledProcessError) as problem:
            sys.exit(f"{container.log()}\nThe image: {problem}")
        finally:
            container.remove()
        print(f"The image does what it should ({container.kind}).")


main()
