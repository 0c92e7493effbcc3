"""Earlier versions of the server: the sources that a commit of the repository's history has, run on today's Python and
libraries. Nothing was released before 0.1.0, so that a version is a commit here.
"""

import os
import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Final

from tests.architecture.repository import ROOT

_SOURCES: Final = ("service", "clients/python/src")


class NoHistory(Exception):
    """The commit is not there, as in a shallow clone."""


def environment_of(commit: str, folder: Path) -> dict[str, str]:
    """Variables with which Python finds that commit's server. Its sources are put into a folder of their own there,
    where they are not yet. Raises NoHistory.
    """
    place = folder / commit[:7]
    found_there = {"PYTHONPATH": os.pathsep.join(str(place / source) for source in _SOURCES)}
    if not place.is_dir():
        _check_out(commit, place)
        assert all(map(place.samefile, _found(found_there))), "another version would be tried"
    return found_there


def _check_out(commit: str, place: Path) -> None:
    archive = subprocess.run(
        ["git", "archive", "--format=zip", "-0", commit, "--", *_SOURCES],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if archive.returncode:
        raise NoHistory(f"{commit} is not in this clone: {archive.stderr.decode(errors='replace').strip()}")
    with zipfile.ZipFile(BytesIO(archive.stdout)) as sources:
        sources.extractall(place)


def _found(environment: dict[str, str]) -> list[str]:
    """Above the two packages, as Python finds them."""
    imports = (
        "import factstr_server, factstr.v1; print(factstr_server.__file__, *factstr.v1.__path__, sep='\\n')"
    )
    said = subprocess.run(
        [sys.executable, "-c", imports],
        env=os.environ | environment,
        capture_output=True,
        check=True,
        text=True,
    ).stdout.splitlines()
    return [str(Path(path).parents[levels]) for path, levels in zip(said, (2, 4), strict=True)]
