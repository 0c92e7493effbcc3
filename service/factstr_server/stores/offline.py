"""What is done to stores by URL and not through a server: `migrate` and `copy`, of every kind that persists, while no
server runs on them; `backup`, `verify` and `restore`, of files.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, NamedTuple

from factstr_server.stores.copy_protocol import CopySource, CopyTarget
from factstr_server.stores.migration import Migration
from factstr_server.stores.opening import sqlite_path
from factstr_server.stores.postgres.copying import SchemaSource, SchemaTarget
from factstr_server.stores.postgres.location import shown_url
from factstr_server.stores.postgres.migrating import migrate_schema
from factstr_server.stores.protocol import StoreError
from factstr_server.stores.sqlite.backing_up import BackedUp, Progress, back_up_file
from factstr_server.stores.sqlite.copying import FileSource, FileTarget
from factstr_server.stores.sqlite.migrating import migrate_file
from factstr_server.stores.sqlite.restoring import restore_file
from factstr_server.stores.sqlite.verifying import Verified, verify_file


class _Kind(NamedTuple):
    migrate: Callable[[str], Awaitable[Migration]]
    source: Callable[[str], CopySource]
    target: Callable[[str], CopyTarget]


async def migrate_store(url: str) -> Migration:
    """Brings a store to this version's format, creating it where there is none. Raises StoreError."""
    return await _kind(url, "migrated").migrate(url)


def source_by_url(url: str) -> CopySource:
    """Raises StoreError."""
    return _kind(url, "copied").source(url)


def target_by_url(url: str) -> CopyTarget:
    """Raises StoreError."""
    return _kind(url, "copied to").target(url)


def back_up_store(url: str, to: Path, progress: Progress) -> BackedUp:
    """Copies a store at one moment, while servers may use it, to a file that is not there. Raises StoreError."""
    return back_up_file(_file(url, "backed up"), to, progress)


def verify_store(url: str, progress: Progress) -> Verified:
    """What a store holds, and what is wrong with it, while servers may use it. Raises StoreError."""
    return verify_file(_file(url, "verified"), progress)


def restore_store(backup: Path, url: str, progress: Progress) -> Verified:
    """Makes a new store of a backup. Raises StoreError; DamagedBackup where something is wrong with it."""
    return restore_file(backup, _file(url, "restored"), progress)


def _file(url: str, wanted: str) -> Path:
    _kind(url, wanted)
    if url.startswith("postgresql:"):
        raise StoreError(
            f"{shown_url(url)} cannot be {wanted} by this command, which is for files; PostgreSQL's own tools do that "
            "(pg_dump, pg_basebackup): see docs/backups.md"
        )
    return sqlite_path(url)


def _kind(url: str, wanted: str) -> _Kind:
    scheme = url.partition(":")[0]
    if url == "memory:":
        raise StoreError(f"a memory store ends with its server: it cannot be {wanted}")
    if scheme not in _KINDS:
        raise StoreError(
            f"store {shown_url(url)!r} cannot be {wanted}; write sqlite:///relative.db, sqlite:////absolute.db or "
            "postgresql://user@host/database"
        )
    return _KINDS[scheme]


async def _migrate_sqlite(url: str) -> Migration:
    return migrate_file(sqlite_path(url))


_KINDS: Final = {
    "sqlite": _Kind(
        _migrate_sqlite,
        lambda url: FileSource(url, sqlite_path(url)),
        lambda url: FileTarget(url, sqlite_path(url)),
    ),
    "postgresql": _Kind(migrate_schema, SchemaSource, SchemaTarget),
}
