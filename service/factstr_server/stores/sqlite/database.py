"""The file: opening it, its format, the lock against a second server, and what SQLite's errors mean."""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Final
from uuid import uuid4

import apsw

from factstr_server.contract.errors import Refusal, store_corrupt, store_full, store_unavailable
from factstr_server.stores.protocol import StoreError

APPLICATION_ID: Final = 0x46414354
"""Marks the file as ours ("FACT")."""

_WRITER_CACHE_KIB: Final = 32 * 1024
_READER_CACHE_KIB: Final = 16 * 1024

_LONGEST_VALUE_BYTES: Final = 16 * 1024 * 1024
"""No fact and no query comes near it; joining too many facts ends there."""


def check_sqlite_version(version: str | None = None) -> None:
    """Refuses a SQLite that may corrupt a database in WAL mode (the WAL-reset bug, 3.7.0 to 3.51.2)."""
    version = version or apsw.sqlite_lib_version()
    numbers = tuple(map(int, version.split(".")))
    mended = numbers >= (3, 51, 3) or (3, 50, 7) <= numbers < (3, 51) or (3, 44, 6) <= numbers < (3, 45)
    if not mended:
        raise StoreError(
            f"SQLite {version} may corrupt a database in WAL mode; install an apsw that carries 3.51.3 or newer"
        )


class FileLock:
    """Held by the one server that may write the file; the operating system frees it when the process ends."""

    def __init__(self, database: Path) -> None:
        file = database.resolve()  # so that all names of one file share one lock
        if file.is_file() and file.stat().st_nlink > 1:
            # SQLite keeps the newest commits beside the name it was opened by: two names would be two logs.
            raise StoreError(f"{database} has more than one name (hard links); remove all but one")
        path = file.with_name(file.name + ".lock")
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StoreError(
                f"cannot open {path}: {error.strerror}; check the path and its permissions"
            ) from None
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._descriptor)
            raise StoreError(
                f"{database} is in use by another server; stop it, or give this one a store of its own"
            ) from None

    def release(self) -> None:
        os.close(self._descriptor)


def open_writer(database: Path) -> apsw.Connection:
    """Opens, creates or upgrades the file. Raises StoreError."""
    try:
        connection = apsw.Connection(str(database))
    except apsw.Error as error:
        raise StoreError(f"cannot open {database}: {error}; check the path and its permissions") from None
    try:
        _configure_writer(connection, database)
        _upgrade(connection, database)
    except apsw.NotADBError:
        connection.close()
        raise StoreError(f"{database} is not a SQLite database; give another path") from None
    except apsw.Error as error:
        connection.close()
        raise StoreError(f"cannot open {database}: {error}") from None
    except StoreError:
        connection.close()
        raise
    return connection


def open_reader(database: Path) -> apsw.Connection:
    connection = apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY)
    connection.set_busy_timeout(5_000)
    connection.execute(f"PRAGMA cache_size = -{_READER_CACHE_KIB}")
    connection.limit(apsw.SQLITE_LIMIT_LENGTH, _LONGEST_VALUE_BYTES)
    return connection


@contextmanager
def translated_errors(io_error: Callable[[], Refusal]) -> Iterator[None]:
    """SQLite's errors as refusals. An I/O error means something else while committing, because it leaves the outcome
    open: the commit's frames may be in the file although the call failed.
    """
    try:
        yield
    except apsw.FullError:
        raise store_full() from None
    except (apsw.CorruptError, apsw.NotADBError) as error:
        raise store_corrupt("SQLite finds its file damaged") from error
    except apsw.IOError as error:
        raise io_error() from error
    except (apsw.BusyError, apsw.LockedError, apsw.CantOpenError, apsw.ReadOnlyError) as error:
        raise store_unavailable("the database file is locked or not writable") from error


def _configure_writer(connection: apsw.Connection, database: Path) -> None:
    connection.set_busy_timeout(5_000)
    # Without a limit the WAL file would keep the size of its largest moment for ever.
    connection.execute(f"PRAGMA cache_size = -{_WRITER_CACHE_KIB}; PRAGMA journal_size_limit = 67108864")
    application_id = connection.execute("PRAGMA application_id").get
    if application_id != APPLICATION_ID and connection.execute("SELECT count(*) FROM sqlite_schema").get:
        raise StoreError(f"{database} is a SQLite database of another application; give another path")
    if connection.execute("PRAGMA journal_mode = WAL").get != "wal":
        raise StoreError(f"{database} cannot use WAL here; put it on a local file system")
    connection.execute("PRAGMA synchronous = FULL")


def _upgrade(connection: apsw.Connection, database: Path) -> None:
    """Applies the schema files that the database lacks, each in a transaction of its own."""
    files = sorted(
        (f for f in resources.files(__package__).joinpath("schema").iterdir() if f.name.endswith(".sql")),
        key=lambda f: f.name,
    )
    version = connection.execute("PRAGMA user_version").get
    if version > len(files):
        raise StoreError(
            f"{database} has format {version}, written by a newer version; this one knows formats up to {len(files)}, "
            "upgrade it"
        )
    for number, file in enumerate(files[version:], version + 1):
        connection.execute("BEGIN IMMEDIATE")
        with connection:
            connection.execute(file.read_text(encoding="utf-8"))
            if number == 1:
                connection.execute(
                    "INSERT INTO store VALUES (1, ?, ?, ?)",
                    (str(uuid4()), str(uuid4()), time.time_ns() // 1000),
                )
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {number}")
        connection.execute("COMMIT")
