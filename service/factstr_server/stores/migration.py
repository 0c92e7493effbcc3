"""The formats of stores: the files that make them, and what bringing a store to this version's did."""

from importlib import resources
from importlib.resources.abc import Traversable
from typing import NamedTuple


class Migration(NamedTuple):
    """The format before and after; there was no store where there was none before."""

    before: int | None
    after: int


def schema_files(package: str) -> list[Traversable]:
    """A store's numbered SQL files, in order. Each brings its schema to the next format, the first to format 1."""
    files = resources.files(package).joinpath("schema").iterdir()
    return sorted((file for file in files if file.name.endswith(".sql")), key=lambda file: file.name)
