"""Programs beside Python that some tests take. A test that is marked with a program's name is left out, with a word,
where there is none.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final, NamedTuple

TOOLS: Final = Path(__file__).parents[1] / ".tools" / "bin"


class Version(NamedTuple):
    """The least that will do, and how a program tells which one it is."""

    least: str
    command: tuple[str, ...]
    pattern: str

    def is_there(self) -> bool:
        try:
            said = subprocess.run(
                self.command, capture_output=True, text=True, check=False, timeout=30
            ).stdout
        except OSError:
            return False
        found = re.search(self.pattern, said)
        return found is not None and _numbers(found[1]) >= _numbers(self.least)


class Program(NamedTuple):
    variable: str
    """Names the program, before all else."""
    names: tuple[str, ...]
    """What it is called on the path, or in .tools/bin."""
    version: Version | None = None

    @property
    def title(self) -> str:
        return " or ".join(self.names) + (f" ({self.version.least} or newer)" if self.version else "")

    def found(self) -> str | None:
        path = os.pathsep.join([os.environ.get("PATH", os.defpath), str(TOOLS)])
        named = (os.environ.get(self.variable), *(shutil.which(name, path=path) for name in self.names))
        there = next(filter(None, named), None)
        return there if there and (self.version is None or self.version.is_there()) else None


def _numbers(version: str) -> list[int]:
    return [int(number) for number in version.split(".")]


PROGRAMS: Final = {
    # The toolchains of the clients; what else they consist of is beside these.
    "go": Program("FACTSTR_TEST_GO", ("go",), Version("1.25", ("go", "version"), r"go([\d.]+)")),
    "java": Program(
        "FACTSTR_TEST_MVN", ("mvn",), Version("17", ("mvn", "--version"), r"Java version: ([\d.]+)")
    ),
    "rust": Program(
        "FACTSTR_TEST_CARGO", ("cargo",), Version("1.88", ("cargo", "--version"), r"cargo ([\d.]+)")
    ),
    "typescript": Program("FACTSTR_TEST_NPM", ("npm",), Version("20", ("node", "--version"), r"v([\d.]+)")),
    "grpcurl": Program("FACTSTR_TEST_GRPCURL", ("grpcurl",)),
    "protoc": Program("FACTSTR_TEST_PROTOC", ("protoc",)),
    "kustomize": Program("FACTSTR_TEST_KUSTOMIZE", ("kustomize", "kubectl")),
    # Prometheus itself is beside it.
    "prometheus": Program("FACTSTR_TEST_PROMTOOL", ("promtool",)),
}
"""By the marker of the tests that need them."""
