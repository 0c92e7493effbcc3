"""The repository as these tests see it: its files, and what its modules import."""

import ast
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
SERVICE = ROOT / "service" / "factstr_server"
CLIENT = ROOT / "clients" / "python" / "src" / "factstr"
GENERATED = CLIENT / "v1"


@cache
def files() -> list[Path]:
    """All files that git tracks or would add."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return [path for name in listing.split("\0") if name and (path := ROOT / name).is_file()]


def modules(folder: Path = ROOT) -> list[Path]:
    """Python files written by hand."""
    return [
        path
        for path in files()
        if path.suffix == ".py" and path.is_relative_to(folder) and not path.is_relative_to(GENERATED)
    ]


def imports(path: Path) -> list[str]:
    """Dotted names of all that a module imports, also inside functions and for types only."""
    top = next((top.parent for top in (SERVICE, CLIENT) if path.is_relative_to(top)), ROOT)
    return list(imported(path.read_text(encoding="utf-8"), path.relative_to(top).parts[:-1]))


def imported(source: str, package: tuple[str, ...]) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def within(name: str, packages: tuple[str, ...]) -> bool:
    """Whether a dotted name is one of these packages or inside one."""
    return any(name == package or name.startswith(package + ".") for package in packages)
