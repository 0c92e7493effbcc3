"""System calls of SQLite's own file layer, replaced for a while, in this process.

SQLite lets most of them be replaced (`xSetSystemCall`), so that errors take the way that the operating system's would:
a VFS written in Python would not do, because APSW raises its exceptions also where SQLite goes on in spite of an error.
Syncs are not among them; they are replaced in the tables of methods of SQLite's files, whose layout is public.
"""

import ctypes
import mmap
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from ctypes import CFUNCTYPE, POINTER, c_char_p, c_int, c_int64, c_size_t, c_ssize_t, c_void_p
from pathlib import Path
from typing import Any, Final

import apsw

Call = Callable[..., int]

PROTOTYPES: Final[Mapping[str, Any]] = {
    "open": CFUNCTYPE(c_int, c_char_p, c_int, c_int, use_errno=True),
    "close": CFUNCTYPE(c_int, c_int, use_errno=True),
    "fstat": CFUNCTYPE(c_int, c_int, c_void_p, use_errno=True),
    "ftruncate": CFUNCTYPE(c_int, c_int, c_int64, use_errno=True),
    "pread64": CFUNCTYPE(c_ssize_t, c_int, c_void_p, c_size_t, c_int64, use_errno=True),
    "pwrite64": CFUNCTYPE(c_ssize_t, c_int, c_void_p, c_size_t, c_int64, use_errno=True),
    "unlink": CFUNCTYPE(c_int, c_char_p, use_errno=True),
    "mmap": CFUNCTYPE(c_void_p, c_void_p, c_size_t, c_int, c_int, c_int, c_int64, use_errno=True),
}
"""As Linux has them."""

_SYNC: Final = CFUNCTYPE(c_int, c_void_p, c_int)
_FILE_SIZE: Final = CFUNCTYPE(c_int, c_void_p, POINTER(c_int64))
_SYNC_PLACE: Final = 5
_FILE_SIZE_PLACE: Final = 6
"""In `sqlite3_io_methods`."""


def real_calls() -> dict[str, Call]:
    """Those of the operating system."""
    vfs = apsw.VFS("factstr-real-calls", "unix")
    return {name: prototype(vfs.xGetSystemCall(name)) for name, prototype in PROTOTYPES.items()}


@contextmanager
def replaced(calls: Mapping[str, Call], sync: Callable[[int], int]) -> Iterator[None]:
    """Calls by name; `sync` takes a file's descriptor and gives SQLite's result."""
    vfs = apsw.VFS("factstr-replaced-calls", "unix")
    asked = threading.local()

    def fstat(descriptor: int, result: int) -> int:
        asked.descriptor = descriptor
        return calls["fstat"](descriptor, result)

    defects: list[Exception] = []
    kept = {name: PROTOTYPES[name](_kept(call, defects)) for name, call in {**calls, "fstat": fstat}.items()}
    with ExitStack() as stack:
        for name, call in kept.items():
            before = vfs.xGetSystemCall(name)
            assert before
            vfs.xSetSystemCall(name, _address(call))
            stack.callback(vfs.xSetSystemCall, name, before)
        for table in _tables():
            stack.enter_context(_replaced_sync(table, _kept(sync, defects), asked))
        yield
    assert not defects, defects


def _kept(call: Call, defects: list[Exception]) -> Call:
    """Nobody hears of an exception in a function that C calls."""

    def safe(*arguments: Any) -> int:
        try:
            return call(*arguments)
        except Exception as error:  # noqa: BLE001
            defects.append(error)
            return -1

    return safe


@contextmanager
def _replaced_sync(table: int, sync: Callable[[int], int], asked: threading.local) -> Iterator[None]:
    methods = ctypes.cast(table, POINTER(c_void_p))
    file_size = _FILE_SIZE(methods[_FILE_SIZE_PLACE])

    def of_file(file: int, _flags: int) -> int:
        # What a file's descriptor is, only its system calls tell.
        asked.descriptor = -1
        file_size(file, c_int64())
        return sync(asked.descriptor)

    before, kept = methods[_SYNC_PLACE], _SYNC(of_file)
    _make_writable(table)
    methods[_SYNC_PLACE] = _address(kept)
    try:
        yield
    finally:
        methods[_SYNC_PLACE] = before


def _tables() -> list[int]:
    """The methods of databases, and those of the files beside them."""
    with tempfile.TemporaryDirectory() as folder, closing(apsw.Connection(str(Path(folder) / "db"))) as one:
        one.execute("PRAGMA journal_mode = WAL").get  # noqa: B018
        one.execute("CREATE TABLE t (c)")
        tables = []
        for which in (apsw.SQLITE_FCNTL_FILE_POINTER, apsw.SQLITE_FCNTL_JOURNAL_POINTER):
            file = c_void_p()
            assert one.file_control("main", which, ctypes.addressof(file))
            table = ctypes.cast(file, POINTER(c_void_p))[0]
            assert table
            tables.append(table)
    return tables


def _make_writable(table: int) -> None:
    """The table is a constant, and its page stays writable."""
    begin = table - table % mmap.PAGESIZE
    length = table + 8 * (_SYNC_PLACE + 1) - begin
    libc = ctypes.CDLL(None, use_errno=True)
    assert not libc.mprotect(c_void_p(begin), c_size_t(length), mmap.PROT_READ | mmap.PROT_WRITE)


def _address(call: Any) -> int:
    address = ctypes.cast(call, c_void_p).value
    assert address
    return address
