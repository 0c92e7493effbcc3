"""A database that comes about whole or not at all: written under another name, made durable, and only then renamed.

Whoever is killed on the way leaves `NAME.partial`, which nobody takes for the file, and which the next one replaces.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from factstr_server.stores.protocol import StoreError
from factstr_server.stores.sqlite.database import FileLock, StoreInUse, check_place

_BESIDE: Final = ("-wal", "-shm", "-journal")
"""What SQLite keeps beside a database, and takes for part of whatever has its name."""


@contextmanager
def written_whole(file: Path, like: Path) -> Iterator[Path]:
    """Where to write, which is an empty file with the permissions of `like`. It becomes `file` at the end of the block;
    where the block fails, nothing is left. Raises StoreError, at once where `file` is there already.
    """
    check_place(file)
    partial = file.with_name(file.name + ".partial")
    try:
        lock = FileLock(partial)
    except StoreInUse:
        raise StoreError(f"{file} is being written already; wait for that, or name another file") from None
    try:
        _check_new(file)
        _remove(partial)
        os.close(os.open(partial, os.O_CREAT | os.O_EXCL, stat.S_IMODE(like.stat().st_mode)))
        yield partial
        _sync(partial)
        _check_new(file)
        partial.rename(file)
        _sync(file.parent)
    except OSError as error:
        raise StoreError(f"cannot write {file}: {error.strerror}") from None
    finally:
        _remove(partial)
        lock.delete()


def _check_new(file: Path) -> None:
    for path in (file, *(file.with_name(file.name + suffix) for suffix in _BESIDE)):
        if os.path.lexists(path):
            raise StoreError(
                f"{path} exists, and nothing is written over it; name a file that is new, or move that one away with "
                f"{file.name}-wal and {file.name}-shm"
            )


def _remove(partial: Path) -> None:
    for suffix in ("", *_BESIDE):
        partial.with_name(partial.name + suffix).unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
