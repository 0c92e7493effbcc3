"""A server on a memory store, and servers on stores that fail or stall on purpose."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from factstr_server.stores.protocol import Store
from tests.conformance.driver import Options
from tests.conformance.matrix import WIRE_WAYS, Way
from tests.conformance.wire import Wire
from tests.service.wrapping_store import WrappingStore

W = TypeVar("W", bound=WrappingStore)


@pytest.fixture
async def server() -> AsyncIterator[Wire]:
    """A server with an empty memory store."""
    async with Wire("memory:", Options()) as wire:
        yield wire


@pytest.fixture(params=WIRE_WAYS, ids=lambda way: way.store.name)
async def served_store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Wire]:
    """A server with an empty store of each kind."""
    way: Way = request.param
    async with Wire(way.store.url(tmp_path), Options()) as wire:
        yield wire


@asynccontextmanager
async def serving(wrap: Callable[[Store], W]) -> AsyncIterator[tuple[Wire, W]]:
    """A server on a wrapped memory store, and the wrapper."""
    made: list[W] = []

    def wrapped(store: Store) -> Store:
        made.append(wrap(store))
        return made[-1]

    async with Wire("memory:", Options(wrap=wrapped)) as wire:
        yield wire, made[-1]
