"""The clients: what each is built with, and the programs that come of it. Building happens once for each state of the
sources, whoever asks first.
"""

import fcntl
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from tests.architecture.repository import ROOT, files
from tests.programs import PROGRAMS

BUILD_SECONDS: Final = 1_200
_STATES: Final = ROOT / ".tools" / "clients"
_PYTHON: Final = shlex.quote(sys.executable)


@dataclass(frozen=True)
class Language:
    """One client. Commands are a shell's; those that build and test run in its folder, and those that start the adapter
    and the desk, which name it as {folder}, anywhere.
    """

    name: str
    build: str
    adapter: str
    desk: str
    own_tests: str

    @property
    def folder(self) -> Path:
        return ROOT / "clients" / self.name

    def words(self, command: str) -> list[str]:
        """A command that starts something, as a process takes it."""
        return shlex.split(command.format(folder=shlex.quote(str(self.folder))))

    def copied(self, to: Path) -> Path:
        """Its folder, and proto beside it, elsewhere: what is tried there changes nothing that others run."""
        for path in files():
            if path.is_relative_to(self.folder) or path.is_relative_to(ROOT / "proto"):
                there = to / path.relative_to(ROOT)
                there.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, there)
        for link in (path for path in self.folder.iterdir() if path.is_symlink() and path.is_dir()):
            (to / link.relative_to(ROOT)).symlink_to(link.readlink())
        return to / self.folder.relative_to(ROOT)

    def built(self) -> None:
        """Builds it, if this state of its sources has not been built yet. Fails with what the build said."""
        failure = _failure_to_build(self)
        assert failure is None, failure


def run(command: Sequence[str | Path], folder: Path, **environment: str) -> None:
    """Runs a command to its end. Fails with what it said."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | _ENVIRONMENT | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=BUILD_SECONDS,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-8000:]}"


_ENVIRONMENT: Final = {
    # How the clients' testing modules start one.
    "FACTSTR_SERVER": f"{_PYTHON} -m factstr_server",
    # What Rust's stands on is compiled once, wherever it is used.
    "CARGO_TARGET_DIR": str(ROOT / "clients" / "rust" / "target"),
}

_JAVA: Final = (
    "java -XX:TieredStopAtLevel=1 "
    "-cp '{folder}/target/test-classes:{folder}/target/classes:{folder}/target/lib/*'"
)

LANGUAGES: Final = (
    Language(
        "go",
        build="go build -o build/ ./internal/adapter ./examples/tool-desk",
        adapter="{folder}/build/adapter",
        desk="{folder}/build/tool-desk",
        own_tests='go vet ./... && test -z "$(gofmt -l .)" && go test ./...',
    ),
    Language(
        "java",
        build="mvn -q -B -ntp package -DskipTests",
        adapter=_JAVA + " io.factstr.conformance.Adapter",
        desk=_JAVA + " ToolDesk",
        own_tests="mvn -q -B -ntp verify",
    ),
    Language(
        "python",
        build="true",
        adapter=f"{_PYTHON} {{folder}}/conformance/adapter.py",
        desk=f"{_PYTHON} {{folder}}/examples/tool_desk.py",
        # They are the folder tests/client.
        own_tests="true",
    ),
    Language(
        "rust",
        build="cargo build --examples --features testing",
        adapter="{folder}/target/debug/examples/adapter",
        desk="{folder}/target/debug/examples/tool-desk",
        own_tests="cargo fmt --check && cargo clippy --all-targets --all-features -- -D warnings "
        "&& cargo test --features testing",
    ),
    Language(
        "typescript",
        build="npm ci --no-audit --no-fund && npm run build",
        adapter="node {folder}/build/conformance/adapter.js",
        desk="node {folder}/build/examples/tool-desk.js",
        own_tests="npm test",
    ),
)


def marks_of(language: Language) -> list[pytest.MarkDecorator]:
    """So that its tests are left out, with a word, where its toolchain is missing."""
    return [getattr(pytest.mark, language.name)] if language.name in PROGRAMS else []


EACH: Final = [pytest.param(language, id=language.name, marks=marks_of(language)) for language in LANGUAGES]
"""Of a parameter `language`."""


@cache
def _failure_to_build(language: Language) -> str | None:
    """Remembered for this process: hundreds of cases would each wait for the same failure."""
    _STATES.mkdir(parents=True, exist_ok=True)
    known = _STATES / language.name
    with _locked(known.with_suffix(".lock")):
        state = _state(language)
        if not known.exists() or known.read_text() != state:
            try:
                run(["/bin/sh", "-c", language.build], language.folder)
            except (AssertionError, subprocess.TimeoutExpired) as error:
                return str(error)
            known.write_text(state)
    return None


def _state(language: Language) -> str:
    digest = hashlib.sha256(language.build.encode())
    for path in sorted(files()):
        if path.is_relative_to(language.folder) or path.is_relative_to(ROOT / "proto"):
            digest.update(f"{path}\0".encode() + path.read_bytes())
    return digest.hexdigest()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
