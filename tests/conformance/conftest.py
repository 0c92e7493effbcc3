"""A fresh store for each test, once for every way in the matrix."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.conformance.driver import Driver, Options
from tests.conformance.matrix import PERSISTENT_WAYS, WAYS, WIRE_WAYS, Way

MakeStore: TypeAlias = Callable[[Options], Driver]


@pytest.fixture(params=WAYS, ids=lambda way: way.name)
def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> MakeStore:
    """Makes a driver that is not started yet; every call of one test is for the same store."""
    way: Way = request.param
    return lambda options: way.driver(way.store.url(tmp_path), options)


@pytest.fixture
async def store(make_store: MakeStore) -> AsyncIterator[Driver]:
    """An empty store, on every way."""
    async with make_store(Options()) as driver:
        yield driver


@pytest.fixture(params=PERSISTENT_WAYS, ids=lambda way: way.name)
async def persistent_store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Driver]:
    """An empty store, on every way to a store that outlives its server."""
    way: Way = request.param
    async with way.driver(way.store.url(tmp_path), Options()) as driver:
        yield driver


@pytest.fixture(params=WIRE_WAYS, ids=lambda way: way.name)
async def served_store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Driver]:
    """An empty store behind a server, on every store: for laws about messages and clients."""
    way: Way = request.param
    async with way.driver(way.store.url(tmp_path), Options()) as driver:
        yield driver
