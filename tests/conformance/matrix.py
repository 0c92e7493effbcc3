"""Which stores the laws are tried on, and on which routes. A new store is one line in STORES."""

from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from tests.conformance.direct import Direct
from tests.conformance.driver import Driver
from tests.conformance.wire import Wire
from tests.postgres.fresh import fresh_url


class StoreKind(NamedTuple):
    """A store under test: its URL, for a folder that is this test's own, and whether it outlives its server."""

    name: str
    url: Callable[[Path], str]
    persists: bool


class Way(NamedTuple):
    """A store and the route to it."""

    store: StoreKind
    driver: type[Driver]

    @property
    def name(self) -> str:
        return f"{self.store.name}-{'grpc' if self.driver is Wire else 'direct'}"


STORES: Final = (
    StoreKind("memory", lambda folder: "memory:", persists=False),
    StoreKind("sqlite", lambda folder: f"sqlite:///{folder / 'facts.db'}", persists=True),
    StoreKind("postgresql", fresh_url, persists=True),
)

WAYS: Final = tuple(Way(store, driver) for store in STORES for driver in (Direct, Wire))
PERSISTENT_WAYS: Final = tuple(way for way in WAYS if way.store.persists)
WIRE_WAYS: Final = tuple(way for way in WAYS if way.driver is Wire)
