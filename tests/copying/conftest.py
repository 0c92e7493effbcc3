"""Where copies come from and where they go, in every direction between the kinds that persist."""

from pathlib import Path
from typing import Final, NamedTuple

import pytest

from tests.conformance.matrix import STORES, StoreKind

KINDS: Final = tuple(kind for kind in STORES if kind.persists)
DIRECTIONS: Final = tuple((source, target) for source in KINDS for target in KINDS)


class Places(NamedTuple):
    """The URLs of a source and a target, where nothing is yet."""

    source: str
    target: str


@pytest.fixture(params=DIRECTIONS, ids=lambda kinds: f"{kinds[0].name} to {kinds[1].name}")
def places(request: pytest.FixtureRequest, tmp_path: Path) -> Places:
    source, target = request.param
    return Places(fresh(source, tmp_path / "source"), fresh(target, tmp_path / "target"))


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> StoreKind:
    found: StoreKind = request.param
    return found


@pytest.fixture
def from_a_file(kind: StoreKind, tmp_path: Path) -> Places:
    """To each kind, where the source makes no difference."""
    return Places(fresh(KINDS[0], tmp_path / "source"), fresh(kind, tmp_path / "target"))


def fresh(kind: StoreKind, folder: Path) -> str:
    folder.mkdir(exist_ok=True)
    return kind.url(folder)
