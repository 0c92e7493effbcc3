"""The WAL beside a database: making durable what stands in it, and bringing that to the database.

When a sync fails, the operating system may forget what it did not write, and go on showing it. Only what is written
again comes to the disk then (docs/decisions/0036).
"""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import apsw

from factstr_server.stores.protocol import StoreError

_AT_ONCE_BYTES: Final = 1024 * 1024


def wal_of(database: Path) -> Path:
    """Where SQLite keeps it, if there is one."""
    file = database.resolve()
    return file.with_name(file.name + "-wal")


def renew_wal(database: Path) -> None:
    """Makes durable what stands in the WAL, if there is one: also a commit that failed, which SQLite takes for one, and
    for durable, when it opens the file after a crash. And the WAL's name, whose sync SQLite tries, and does not mind
    when it fails. Nobody else may write it. Raises StoreError.
    """
    wal = wal_of(database)
    try:
        with _opened(wal, os.O_RDWR) as file:
            offset = 0
            while found := os.pread(file, _AT_ONCE_BYTES, offset):
                offset += os.pwrite(file, found, offset)
            os.fsync(file)
        with _opened(wal.parent, os.O_RDONLY) as folder:
            os.fsync(folder)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise StoreError(f"cannot write {wal}: {error.strerror}") from None


@contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    file = os.open(path, flags | os.O_CLOEXEC)
    try:
        yield file
    finally:
        os.close(file)


def apply_wal(database: Path) -> None:
    """Writes all that the WAL holds into the database, also what was written there before, and begins a new one. Needs
    the file alone. Raises StoreError, apsw.Error; BusyError where another process reads it.

    A checkpoint that did not come to its end, because readers were in its way, has synced nothing, and SQLite does not
    write that again. How far it has come it notes in memory that all connections share. This one shares none.
    """
    with closing(apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READWRITE)) as alone:
        # Nobody waits here: reads do meanwhile, and the next append tries again.
        alone.set_busy_timeout(0)
        alone.pragma("locking_mode", "EXCLUSIVE")
        alone.pragma("user_version")  # SQLite opens nothing before it must.
        renew_wal(database)
        alone.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
