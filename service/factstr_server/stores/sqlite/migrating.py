"""Brings a file to this version's format, creating it where there is none."""

from contextlib import closing
from pathlib import Path

import apsw

from factstr_server.stores.migration import Migration
from factstr_server.stores.protocol import StoreError
from factstr_server.stores.sqlite.database import (
    NEWEST_FORMAT,
    FileLock,
    check_application,
    check_place,
    format_of,
    open_unchanged,
    open_writer,
)


def migrate_file(database: Path) -> Migration:
    """Raises StoreError."""
    check_place(database)
    lock = FileLock(database)
    try:
        before = _format_of(database)
        open_writer(database).close()
    finally:
        lock.release()
    return Migration(before, NEWEST_FORMAT)


def _format_of(database: Path) -> int | None:
    """None where there is no store yet; what cannot be opened is told by `open_writer`, in its words."""
    if not database.is_file():
        return None
    try:
        with closing(open_unchanged(database)) as connection:
            return format_of(connection, database) if check_application(connection, database) else None
    except apsw.Error as error:
        raise StoreError(f"cannot open {database}: {error}") from None
