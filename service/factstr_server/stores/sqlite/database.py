"""The file: opening it, its format, the lock against a second server, and what SQLite's errors mean."""

import fcntl
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote
from uuid import uuid4

import apsw

from factstr_server.contract.errors import Refusal, store_corrupt, store_full, store_unavailable
from factstr_server.stores.migration import schema_files
from factstr_server.stores.protocol import StoreError
from factstr_server.stores.sqlite.wal import renew_wal, wal_of

APPLICATION_ID: Final = 0x46414354
"""Marks the file as ours ("FACT")."""

UNFINISHED_COPY_ID: Final = 0x46414343
"""Marks the file as a copy of a store that is not all there ("FACC"): to any server it is a file of somebody else."""

BACKUP_ID: Final = 0x46414342
"""Marks the file as a backup ("FACB"), which becomes a store only by being restored."""

_WRITER_CACHE_KIB: Final = 32 * 1024
_READER_CACHE_KIB: Final = 16 * 1024

_LONGEST_VALUE_BYTES: Final = 16 * 1024 * 1024
"""No fact and no query comes near it; joining too many facts ends there."""

_FILES: Final = schema_files(__package__)
NEWEST_FORMAT: Final = len(_FILES)


def check_sqlite_version(version: str | None = None) -> None:
    """Refuses a SQLite that may corrupt a database in WAL mode (the WAL-reset bug, 3.7.0 to 3.51.2)."""
    version = version or apsw.sqlite_lib_version()
    numbers = tuple(map(int, version.split(".")))
    mended = numbers >= (3, 51, 3) or (3, 50, 7) <= numbers < (3, 51) or (3, 44, 6) <= numbers < (3, 45)
    if not mended:
        raise StoreError(
            f"SQLite {version} may corrupt a database in WAL mode; install an apsw that carries 3.51.3 or newer"
        )


def check_place(database: Path) -> None:
    """Raises StoreError where no file can be."""
    check_sqlite_version()
    if database.is_dir():
        raise StoreError(f"cannot open {database}: it is a folder; name a file in it")
    if not database.parent.is_dir():
        raise StoreError(f"cannot open {database}: there is no folder {database.parent}; create it")


class StoreInUse(StoreError):
    """Somebody else holds the file."""


class FileLock:
    """Held by the one server that may write the file; the operating system frees it when the process ends.

    A lock file beside the database, so that the place is taken even where there is no database yet; and the database
    itself, so that neither a deleted lock file nor a second name (a file that is mounted alone) opens it twice.
    """

    def __init__(self, database: Path) -> None:
        self._database = database
        self._file = database.resolve()  # so that all names of one file share one lock
        check_single_name(database)
        self._descriptors: list[int] = []
        self._lock_file = self._file.with_name(self._file.name + ".lock")
        self._take(self._lock_file, os.O_RDWR | os.O_CREAT)
        self.take_database()

    def take_database(self) -> None:
        """Once there is one. SQLite's own locks are of another kind, and not touched."""
        # Elsewhere the two kinds are in each other's way.
        if sys.platform == "linux" and len(self._descriptors) == 1 and self._file.is_file():
            self._take(self._file, os.O_RDONLY)

    def release(self) -> None:
        """After the last connection is closed: closing a descriptor of the database would end SQLite's locks on it."""
        while self._descriptors:
            os.close(self._descriptors.pop())

    def delete(self) -> None:
        """Releases it and leaves no lock file, for what nobody will lock again."""
        self._lock_file.unlink(missing_ok=True)
        self.release()

    def _take(self, path: Path, flags: int) -> None:
        try:
            descriptor = os.open(path, flags | os.O_CLOEXEC, 0o644)
        except OSError as error:
            self.release()
            raise StoreError(
                f"cannot open {path}: {error.strerror}; check the path and its permissions"
            ) from None
        self._descriptors.append(descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.release()
            raise StoreInUse(
                f"{self._database} is in use by another server; stop it, or give this one a store of its own"
            ) from None


def check_single_name(database: Path) -> None:
    """Raises StoreError where the file has hard links: SQLite keeps the newest commits beside the name that it opened
    the file by, so that two names would be two logs.
    """
    file = database.resolve()
    if file.is_file() and file.stat().st_nlink > 1:
        raise StoreError(f"{database} has more than one name (hard links); remove all but one")


def open_writer(database: Path) -> apsw.Connection:
    """Opens, creates or upgrades the file. Raises StoreError."""
    return _open(database, APPLICATION_ID)


def open_copy(database: Path) -> apsw.Connection:
    """As `open_writer`, and marks the file as an unfinished copy first. Raises StoreError."""
    return _open(database, UNFINISHED_COPY_ID)


def finish_copy(connection: apsw.Connection) -> None:
    """All that was written is durable before the mark is gone, because a commit waits for the disk. Then it is brought
    to the file itself: SQLite does so when it is closed, but tells nobody that it failed. Raises apsw.Error.
    """
    connection.execute(f"BEGIN IMMEDIATE; PRAGMA application_id = {APPLICATION_ID}; COMMIT")
    connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)


def _open(database: Path, application_id: int) -> apsw.Connection:
    try:
        connection = apsw.Connection(str(database))
    except apsw.Error as error:
        raise StoreError(
            f"cannot open {database}: {told(error)}; check the path and its permissions"
        ) from None
    try:
        _configure_writer(connection, database)
        if application_id == UNFINISHED_COPY_ID:
            # In the file itself, not only beside it: whoever takes that alone sees it too.
            connection.execute(
                f"BEGIN IMMEDIATE; PRAGMA application_id = {application_id}; COMMIT; PRAGMA wal_checkpoint(TRUNCATE)"
            )
        else:
            # A store's writer runs its checkpoints itself: SQLite tells nobody of one that failed.
            connection.wal_autocheckpoint(0)
        _upgrade(connection, database, application_id)
    except apsw.NotADBError:
        connection.close()
        raise StoreError(f"{database} is not a SQLite database; give another path") from None
    except (apsw.Error, UnicodeDecodeError) as error:
        connection.close()
        raise StoreError(f"cannot open {database}: {told(error)}") from None
    except StoreError:
        connection.close()
        raise
    return connection


def open_reader(database: Path) -> apsw.Connection:
    connection = apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        connection.set_busy_timeout(5_000)
        connection.execute(f"PRAGMA cache_size = -{_READER_CACHE_KIB}")
        _keep_plans(connection)
        connection.limit(apsw.SQLITE_LIMIT_LENGTH, _LONGEST_VALUE_BYTES)
        connection.pragma("user_version")  # Nothing is opened before it must.
    except apsw.Error:
        # Whoever holds the error would hold the connection, and with it the file.
        connection.close()
        raise
    return connection


def open_unchanged(database: Path) -> apsw.Connection:
    """For reading under the file's lock. Leaves nothing behind, not even beside the file, where that is possible: where
    its server has stopped in order, and all commits are in the file itself.
    """
    if wal_of(database).exists():
        return open_reader(database)
    return apsw.Connection(
        f"file:{quote(str(database.resolve()))}?immutable=1",
        flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI,
    )


def open_beside_server(database: Path) -> apsw.Connection:
    """For reading while a server may run, stop or start. Raises StoreError where there is no file of one name.

    Leaves the file as it is, and nothing beside it where nothing was.
    """
    if not database.is_file():
        raise StoreError(f"there is no store at {database}")
    check_single_name(database)
    if wal_of(database).exists() or not os.access(database.resolve().parent, os.W_OK):
        return open_unchanged(database)
    # A connection that may write takes away what it has made beside the file, unless a server uses it by then.
    return apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READWRITE)


@contextmanager
def told_of(database: Path) -> Iterator[None]:
    """SQLite's errors as StoreErrors, for people."""
    try:
        yield
    except apsw.FullError:
        raise StoreError(f"there is no room left for {database}") from None
    except apsw.NotADBError:
        raise StoreError(f"{database} is not a SQLite database") from None
    except (apsw.Error, UnicodeDecodeError) as error:
        raise StoreError(f"cannot use {database}: {told(error)}") from None


def told(error: Exception) -> str:
    """What went wrong with a file, on one line. SQLite repeats what it stumbled over, whatever that is."""
    if isinstance(error, UnicodeDecodeError):
        return "a text in it is not UTF-8"
    if not isinstance(error, apsw.Error):
        return "a value in it cannot be"
    line = " ".join(str(error).split())
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)


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


def _keep_plans(connection: apsw.Connection) -> None:
    """Plans look at no bound value. Otherwise SQLite parses and plans anew whenever one is bound again that it looked
    at: our statements with a limit, and those of FTS5 for every term.
    """
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)


def _configure_writer(connection: apsw.Connection, database: Path) -> None:
    # Whoever fails until the WAL is renewed leaves it as it is: it may hold a commit that is not durable.
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    connection.set_busy_timeout(5_000)
    _keep_plans(connection)
    # Without a limit the WAL file would keep the size of its largest moment for ever.
    connection.execute(f"PRAGMA cache_size = -{_WRITER_CACHE_KIB}; PRAGMA journal_size_limit = 67108864")
    try:
        check_application(connection, database)
    except StoreError:
        # What is somebody else's is left as any reader of it leaves it, with nothing new beside it.
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0)
        raise
    if connection.execute("PRAGMA journal_mode = WAL").get != "wal":
        raise StoreError(f"{database} cannot use WAL here; put it on a local file system")
    connection.execute("PRAGMA synchronous = FULL")
    _take_over(connection, database)


def _take_over(connection: apsw.Connection, database: Path) -> None:
    """What somebody else may have left: a WAL; or memory that connections share, opened for reading alone, because it
    could not be opened for writing at that moment. So SQLite opens the file too.
    """
    try:
        connection.execute("BEGIN IMMEDIATE")
        writable = not connection.readonly("main")
    except apsw.ReadOnlyError:
        writable = False
    if not writable:
        raise StoreError(
            f"cannot open {database}: it cannot be written; check its permissions, and the limit of open files"
        )
    renew_wal(database)
    connection.execute("ROLLBACK")
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0)


def check_application(connection: apsw.Connection, database: Path) -> bool:
    """Whether there is a store in the file; False where it is empty. Raises StoreError for what is not ours."""
    application_id = connection.execute("PRAGMA application_id").get
    if application_id == APPLICATION_ID:
        return True
    if application_id == UNFINISHED_COPY_ID:
        raise StoreError(
            f"{database} holds an unfinished copy, or one that is under way; delete the file if nothing writes it any "
            "more, and copy again"
        )
    if application_id == BACKUP_ID:
        raise StoreError(
            f"{database} is a backup, which is not served as it is; make a store of it: factstr-server restore --from "
            f"{database} --store sqlite:///..."
        )
    if connection.execute("SELECT count(*) FROM sqlite_schema").get:
        raise StoreError(f"{database} is a SQLite database of another application; give another path")
    return False


def format_of(connection: apsw.Connection, database: Path) -> int:
    """0 where there is none yet. Raises StoreError for what a newer version wrote."""
    version: int = connection.execute("PRAGMA user_version").get
    if version > NEWEST_FORMAT:
        raise StoreError(
            f"{database} has format {version}, written by a newer version; this one knows formats up to "
            f"{NEWEST_FORMAT}, upgrade it"
        )
    return version


def execute_schema(connection: apsw.Connection) -> None:
    """Makes the tables of this version's format, and nothing in them."""
    for file in _FILES:
        connection.execute(file.read_text(encoding="utf-8"))


def _upgrade(connection: apsw.Connection, database: Path, application_id: int) -> None:
    """Applies the schema files that the database lacks, each in a transaction of its own."""
    version = format_of(connection, database)
    for number, file in enumerate(_FILES[version:], version + 1):
        connection.execute("BEGIN IMMEDIATE")
        with connection:
            connection.execute(file.read_text(encoding="utf-8"))
            if number == 1:
                connection.execute(
                    "INSERT INTO store VALUES (1, ?, ?, ?)",
                    (str(uuid4()), str(uuid4()), time.time_ns() // 1000),
                )
            connection.execute(f"PRAGMA application_id = {application_id}; PRAGMA user_version = {number}")
        connection.execute("COMMIT")
