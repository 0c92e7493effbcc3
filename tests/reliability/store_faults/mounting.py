"""SQLite's way to a disk that has faults and loses its power.

While it is in place, everything that SQLite does in the folder of a mounted disk goes by here, whoever asks for it. The
files are real ones, beside which the disk keeps its books. The shared memory of a WAL (-shm) may fail like any file,
but is none of the disk's: nothing of it outlives a loss of power.
"""

import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from ctypes import addressof, create_string_buffer, get_errno, set_errno, string_at
from errno import EIO
from functools import wraps
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple, ParamSpec, TypeVar
from unittest import mock

import apsw

from factstr_server.stores.sqlite import quick_reads as sqlite_quick_reads
from factstr_server.stores.sqlite import store as sqlite_store
from factstr_server.stores.sqlite import wal as sqlite_wal
from tests.reliability.store_faults.disk import Content, Disk, PowerLost
from tests.reliability.store_faults.disk_faults import SHORT, SYNC, WAL_SYNC, DiskFaults
from tests.reliability.store_faults.interposing import PROTOTYPES, real_calls, replaced

_WAL: Final = "-wal"
_CREATED_WITH_FOLDER: Final = ("-journal", _WAL)
"""SQLite syncs the folder of such a file, when it has created it, together with the file."""

_SHARED_MEMORY: Final = "-shm"

P = ParamSpec("P")
T = TypeVar("T")


class Mount:
    """A disk at a folder."""

    def __init__(self, folder: Path, disk: Disk, chance: Random) -> None:
        self.folder = folder
        self.disk = disk
        self.faults = DiskFaults(Random(chance.random()))

    def attempt(self, call: str, do: Callable[[bool], int]) -> int:
        """As Linux would answer. `do` is told whether to do only a part."""
        try:
            self.disk.check()
            error = self.faults.meet(call)
            self.disk.check()
            if not error:
                return do(error == SHORT)
        except PowerLost:
            error = EIO
        set_errno(error)
        return -1


class _Open(NamedTuple):
    """What a descriptor leads to."""

    mount: Mount
    content: Content | None
    """None: memory."""
    sync: str
    """What its sync is called, among calls that may fail."""
    folder_is_due: bool


class Mounts:
    """All disks. The methods named like system calls are what stands before these."""

    def __init__(self) -> None:
        self._by_folder: dict[Path, Mount] = {}
        self._opened: dict[int, _Open] = {}
        self._real = real_calls()

    def mount(self, folder: Path, chance: Random, files: Mapping[str, bytes] | None = None) -> Mount:
        """In a new folder. With files that are durable."""
        folder.mkdir()
        folder = folder.resolve()
        for name, data in (files or {}).items():
            (folder / name).write_bytes(data)
        disk = Disk(files or {}, Random(chance.random()))
        self._by_folder[folder] = Mount(folder, disk, chance)
        return self._by_folder[folder]

    def after_crash(self, before: Mount, folder: Path, chance: Random) -> Mount:
        """What others find there, whoever still uses it as it was before: all that was written, synced or not."""
        before.disk.lose_power()
        folder.mkdir()
        folder = folder.resolve()
        for file in before.folder.iterdir():
            if not file.name.endswith(_SHARED_MEMORY):
                shutil.copy(file, folder)
        self._by_folder[folder] = Mount(folder, before.disk.after_crash(), chance)
        return self._by_folder[folder]

    def _at(self, path: bytes) -> tuple[Mount | None, str]:
        place = Path(os.fsdecode(path))
        return self._by_folder.get(place.parent), place.name

    def open(self, path: bytes, flags: int, mode: int) -> int:
        mount, name = self._at(path)
        real = self._real["open"]
        if mount is None:
            return real(path, flags, mode)

        def do(_part: bool) -> int:
            descriptor = real(path, flags, mode)
            if descriptor >= 0:
                try:
                    content = None if name.endswith(_SHARED_MEMORY) else mount.disk.open(name)
                except PowerLost:
                    os.close(descriptor)
                    raise
                due = bool(flags & os.O_CREAT) and name.endswith(_CREATED_WITH_FOLDER)
                sync = WAL_SYNC if name.endswith(_WAL) else SYNC
                self._opened[descriptor] = _Open(mount, content, sync, due)
            return descriptor

        return mount.attempt("open", do)

    def unlink(self, path: bytes) -> int:
        mount, name = self._at(path)
        real = self._real["unlink"]
        if mount is None:
            return real(path)

        def do(_part: bool) -> int:
            mount.disk.delete(name)
            return real(path)

        return mount.attempt("unlink", do)

    def close(self, descriptor: int) -> int:
        self._opened.pop(descriptor, None)
        return self._real["close"](descriptor)

    def fstat(self, descriptor: int, result: int) -> int:
        return self._attempt("fstat", descriptor, lambda *_: self._real["fstat"](descriptor, result))

    def mmap(self, *arguments: int) -> int:
        return self._attempt("mmap", arguments[4], lambda *_: self._real["mmap"](*arguments))

    def pread64(self, descriptor: int, to: int, size: int, offset: int) -> int:
        def do(_opened: _Open | None, part: bool) -> int:
            return self._real["pread64"](descriptor, to, _less(size) if part else size, offset)

        return self._attempt("pread64", descriptor, do)

    def pwrite64(self, descriptor: int, data: int, size: int, offset: int) -> int:
        def do(opened: _Open | None, part: bool) -> int:
            written = _less(size) if part else size
            if opened and opened.content:
                opened.mount.disk.write(opened.content, offset, string_at(data, written))
            return self._real["pwrite64"](descriptor, data, written, offset)

        return self._attempt("pwrite64", descriptor, do)

    def ftruncate(self, descriptor: int, size: int) -> int:
        def do(opened: _Open | None, _part: bool) -> int:
            if opened and opened.content:
                opened.mount.disk.cut(opened.content, size)
            return self._real["ftruncate"](descriptor, size)

        return self._attempt("ftruncate", descriptor, do)

    def sync(self, descriptor: int) -> int:
        """Gives SQLite's result. The real file is not synced: what is durable stands in the disk's books."""

        def do(opened: _Open | None, _part: bool) -> int:
            if opened and opened.content:
                opened.mount.disk.sync(opened.content, folder=opened.folder_is_due)
                self._opened[descriptor] = opened._replace(folder_is_due=False)
            return 0

        opened = self._opened.get(descriptor)
        if not self._attempt(opened.sync if opened else SYNC, descriptor, do):
            return apsw.SQLITE_OK
        if opened and opened.content:
            with suppress(PowerLost):
                opened.mount.disk.fail_to_sync(opened.content)
        return apsw.SQLITE_IOERR_FSYNC

    def _attempt(self, call: str, descriptor: int, do: Callable[[_Open | None, bool], int]) -> int:
        opened = self._opened.get(descriptor)
        if opened is None:
            return do(None, False)
        return opened.mount.attempt(call, lambda part: do(opened, part))


def _less(size: int) -> int:
    return max(1, size // 2)


class _PythonsCalls:
    """The same way for what a store does to a file by itself: instead of the module `os`, in its eyes."""

    def __init__(self, mounts: Mounts) -> None:
        self._mounts = mounts

    def __getattr__(self, name: str) -> int:
        """Of constants: any other call would pass the disk by."""
        assert name.startswith("O_"), name
        return int(getattr(os, name))

    def open(self, path: Path, flags: int) -> int:
        return _checked(self._mounts.open(os.fsencode(path), flags, 0))

    def close(self, descriptor: int) -> None:
        self._mounts.close(descriptor)

    def pread(self, descriptor: int, size: int, offset: int) -> bytes:
        room = create_string_buffer(size)
        read = _checked(self._mounts.pread64(descriptor, addressof(room), size, offset))
        return room.raw[:read]

    def pwrite(self, descriptor: int, data: bytes, offset: int) -> int:
        copy = create_string_buffer(data, len(data))
        return _checked(self._mounts.pwrite64(descriptor, addressof(copy), len(data), offset))

    def fsync(self, descriptor: int) -> None:
        if self._mounts.sync(descriptor):
            raise OSError(EIO, os.strerror(EIO))


def _checked(result: int) -> int:
    if result < 0:
        raise OSError(get_errno(), os.strerror(get_errno()))
    return result


class _Connection(apsw.Connection):
    """Opened and closed by one thread at a time.

    APSW closes with Python's lock held. SQLite's file layer, whose calls go by Python here, opens and closes with locks
    of its own: two threads would wait for each other.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        with _ONE_AT_A_TIME:
            super().__init__(*arguments, **options)

    def close(self, force: bool = False) -> None:
        with _ONE_AT_A_TIME:
            super().close(force)


_ONE_AT_A_TIME: Final = threading.RLock()


def _one_at_a_time(call: Callable[P, T]) -> Callable[P, T]:
    @wraps(call)
    def alone(*arguments: P.args, **options: P.kwargs) -> T:
        # The event loop does not wait: it may be what ends a stall.
        patience = 0 if threading.current_thread() is threading.main_thread() else -1
        if not _ONE_AT_A_TIME.acquire(timeout=patience):
            raise apsw.BusyError
        try:
            return call(*arguments, **options)
        finally:
            _ONE_AT_A_TIME.release()

    return alone


@contextmanager
def mounted() -> Iterator[Mounts]:
    """While it lasts, SQLite goes this way. No file of a disk is open before or after."""
    mounts = Mounts()
    with ExitStack() as stack:
        stack.enter_context(replaced({name: getattr(mounts, name) for name in PROTOTYPES}, mounts.sync))
        stack.enter_context(mock.patch.object(sqlite_wal, "os", _PythonsCalls(mounts)))
        stack.enter_context(mock.patch.object(apsw, "Connection", _Connection))
        for module, name in (
            (sqlite_store, "open_reader"),
            (sqlite_store, "open_writer"),
            (sqlite_store, "apply_wal"),
            (sqlite_quick_reads, "open_reader"),
        ):
            stack.enter_context(mock.patch.object(module, name, _one_at_a_time(getattr(module, name))))
        yield mounts
