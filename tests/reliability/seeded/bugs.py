"""Seeded bugs: deliberately broken builds, and whether the check that guards what they break catches them.

Each is a patch to `service/` in this folder, with lines of a header before its first diff:

    Part: crash
    Breaks: what the broken build does, in a sentence
    Test: tests/reliability/crash/test_killed_servers.py::test_…
    Says: what the output of the failing test must match, so that it was the check that failed, and not the build

It is applied to a copy of `service/`, which stands before everything else on the path of the test and of the servers
that it starts.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Final, NamedTuple, Self

FOLDER: Final = Path(__file__).parent
ROOT: Final = FOLDER.parents[2]
TRIES: Final = 3
"""What a kill hits is chance: a bug is caught if one of so many runs fails as it should."""
_SECONDS: Final = 300


class Bug(NamedTuple):
    name: str
    part: str
    breaks: str
    test: str
    says: str
    patch: Path

    @classmethod
    def of(cls, patch: Path) -> Self:
        header = patch.read_text(encoding="utf-8").partition("\ndiff ")[0]
        fields = dict(line.split(": ", 1) for line in header.splitlines() if ": " in line)
        return cls(patch.stem, fields["Part"], fields["Breaks"], fields["Test"], fields["Says"], patch)


def all_bugs() -> list[Bug]:
    return [Bug.of(patch) for patch in sorted(FOLDER.glob("*.patch"))]


def build(folder: Path, bug: Bug | None) -> Path:
    """A copy of the server, broken by a bug, or as it is. What goes to the front of the path."""
    service = folder / "service"
    shutil.copytree(ROOT / "service", service, ignore=shutil.ignore_patterns("__pycache__"))
    if bug:
        # Told to be outside every repository, or it would skip what is not below the current one.
        applied = subprocess.run(
            ["git", "apply", "--whitespace=nowarn", str(bug.patch)],
            cwd=folder,
            env={**os.environ, "GIT_CEILING_DIRECTORIES": str(folder.parent)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert applied.returncode == 0, f"{bug.name} does not apply any more: {applied.stderr}"
    return service


class Ran(NamedTuple):
    """A test on a build."""

    passed: bool
    output: str


def run_test(test: str, service: Path, folder: Path, seed: int) -> Ran:
    """The seed is the test's trial's."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "FACTSTR_REL"))
    }
    process = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=short"),
            *(f"--basetemp={folder / 'pytest'}", test),
        ],
        cwd=ROOT,
        env={
            **environment,
            "PYTHONPATH": str(service),
            "PYTHONDONTWRITEBYTECODE": "1",
            "FACTSTR_RELIABILITY_SEED": str(seed),
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    assert process.returncode in (0, 1), process.stdout
    return Ran(process.returncode == 0, process.stdout)


def tries_until_caught(bug: Bug, folder: Path, chance: Random) -> int:
    """0 where it was not caught. Each try has a seed of its own. Raises AssertionError where the test fails otherwise
    than the bug's header says.
    """
    service = build(folder, bug)
    for number in range(1, TRIES + 1):
        ran = run_test(bug.test, service, folder, chance.getrandbits(32))
        if not ran.passed:
            found = re.search(bug.says, ran.output)
            assert found, f"{bug.name}: {bug.test} fails, but does not say {bug.says}:\n{ran.output[-4_000:]}"
            return number
    return 0


def imported_from(service: Path) -> Path:
    """Where a Python with this path finds the server."""
    place = subprocess.run(
        [sys.executable, "-c", "import factstr_server as it; print(it.__file__)"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(service)},
        capture_output=True,
        text=True,
        check=True,
    )
    return Path(place.stdout.strip()).parent
