"""Programs beside Python that some tests take. A test that is marked with a program's name is left out, with a word,
where there is none.
"""

import os
import shutil
from pathlib import Path
from typing import Final, NamedTuple

TOOLS: Final = Path(__file__).parents[1] / ".tools" / "bin"


class Program(NamedTuple):
    variable: str
    """Names the program, before all else."""
    names: tuple[str, ...]
    """What it is called on the path, or in .tools/bin."""

    def found(self) -> str | None:
        path = os.pathsep.join([os.environ.get("PATH", os.defpath), str(TOOLS)])
        named = (os.environ.get(self.variable), *(shutil.which(name, path=path) for name in self.names))
        return next(filter(None, named), None)


PROGRAMS: Final = {
    # The toolchains of the clients; what else they consist of is beside these.
    "go": Program("FACTSTR_TEST_GO", ("go",)),
    "java": Program("FACTSTR_TEST_MVN", ("mvn",)),
    "rust": Program("FACTSTR_TEST_CARGO", ("cargo",)),
    "typescript": Program("FACTSTR_TEST_NPM", ("npm",)),
    "grpcurl": Program("FACTSTR_TEST_GRPCURL", ("grpcurl",)),
    "protoc": Program("FACTSTR_TEST_PROTOC", ("protoc",)),
    "kustomize": Program("FACTSTR_TEST_KUSTOMIZE", ("kustomize", "kubectl")),
    # Prometheus itself is beside it.
    "prometheus": Program("FACTSTR_TEST_PROMTOOL", ("promtool",)),
}
"""By the marker of the tests that need them."""
