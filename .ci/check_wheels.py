"""Says what is wrong with the wheels in the folder named: only their own package, whole, typed, with its data."""

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).parents[1]


def problems(wheel: Path, package: str, source: Path) -> Iterable[str]:
    tracked = subprocess.run(
        ["git", "ls-files", "-z", "."], cwd=source, check=True, capture_output=True, text=True
    ).stdout
    expected = {f"{package}/{name}" for name in tracked.split("\0") if name}
    found = {name for name in ZipFile(wheel).namelist() if ".dist-info/" not in name}
    yield from (f"{wheel.name} lacks {name}" for name in sorted(expected - found))
    yield from (f"{wheel.name} has {name}" for name in sorted(found - expected))
    if f"{package}/py.typed" not in found:
        yield f"{wheel.name} is not typed"


def main() -> None:
    folder = Path(sys.argv[1])
    found: list[str] = []
    for package, source in (
        ("factstr", "clients/python/src/factstr"),
        ("factstr_server", "service/factstr_server"),
    ):
        [wheel] = folder.glob(f"{package}-*.whl")
        found += problems(wheel, package, ROOT / source)
    if found:
        sys.exit("\n".join(found))


main()
