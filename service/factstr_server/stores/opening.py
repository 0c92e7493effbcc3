"""Stores by URL: `memory:`, `sqlite:///relative.db`, `sqlite:////absolute.db`, `postgresql://…`, and whatever is
installed.

Others come from the entry point group `factstr.stores`: name = scheme, value = a callable of URL and StoreOptions.
"""

from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Final, TypeAlias

from factstr_server.stores.memory import MemoryStore
from factstr_server.stores.postgres.location import shown_url
from factstr_server.stores.postgres.store import PostgresStore
from factstr_server.stores.protocol import Store, StoreError, StoreOptions
from factstr_server.stores.sqlite.store import SqliteStore

Opener: TypeAlias = Callable[[str, StoreOptions], Store]

ENTRY_POINT_GROUP: Final = "factstr.stores"


def store_by_url(url: str, options: StoreOptions) -> Store:
    """The store of a URL, not yet open. Raises StoreError."""
    scheme, separator, _ = url.partition(":")
    installed = {entry.name: entry for entry in entry_points(group=ENTRY_POINT_GROUP)}
    if separator and scheme in _BUILT_IN:
        return _BUILT_IN[scheme](url, options)
    if separator and scheme in installed:
        opener: Opener = installed[scheme].load()
        return opener(url, options)
    known = ", ".join(sorted({*_BUILT_IN, *installed}))
    raise StoreError(
        f"store {shown_url(url)!r} has no known scheme ({known}); write memory:, sqlite:///relative.db, "
        "sqlite:////absolute.db or postgresql://user@host/database"
    )


def sqlite_path(url: str) -> Path:
    """Raises StoreError."""
    path = url.removeprefix("sqlite:///")
    if path == url or not path:
        raise StoreError(f"store {shown_url(url)!r}: write sqlite:///relative.db or sqlite:////absolute.db")
    return Path(path)


def _memory(url: str, options: StoreOptions) -> Store:
    if url != "memory:":
        raise StoreError(f"store {shown_url(url)!r}: a memory store takes no path; write memory:")
    return MemoryStore(options)


def _sqlite(url: str, options: StoreOptions) -> Store:
    return SqliteStore(sqlite_path(url), options)


_BUILT_IN: Final[dict[str, Opener]] = {
    "memory": _memory,
    "sqlite": _sqlite,
    "postgresql": PostgresStore,
}
