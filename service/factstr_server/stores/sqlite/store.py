"""The SQLite store as a `LogStore`: which thread and connection does what.

One writer thread owns the writing connection. Reader threads own a read-only connection each; SQLite gives every read a
snapshot, so that readers and the writer never wait for each other. The event loop has a connection for what is quickly
read (`quick_reads`), and touches no other.

What an I/O error may have made untrue is forgotten (docs/decisions/0036): the connection that met it in a commit is
closed, and the next commit opens another one. After a checkpoint that failed all connections are closed, and the WAL is
applied anew.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, TypeVar

import apsw

from factstr_server.contract.append import PreparedAppend
from factstr_server.contract.errors import (
    Refusal,
    change_outcome_unknown,
    io_error,
    outcome_unknown,
    store_unavailable,
)
from factstr_server.contract.query import CompiledQuery
from factstr_server.stores.protocol import (
    Advance,
    BatchPage,
    BatchWindow,
    ContextRead,
    Outcome,
    Page,
    StoreError,
    StoreInfo,
    StoreListener,
    StoreOptions,
    Window,
)
from factstr_server.stores.sqlite.database import (
    FileLock,
    check_place,
    open_reader,
    open_writer,
    told,
    told_of,
    translated_errors,
)
from factstr_server.stores.sqlite.gate import Gate
from factstr_server.stores.sqlite.quick_reads import QuickReads
from factstr_server.stores.sqlite.reading import Reader
from factstr_server.stores.sqlite.streams import Holders, StreamWriter
from factstr_server.stores.sqlite.wal import apply_wal
from factstr_server.stores.sqlite.writing import Writer
from factstr_server.stores.stream_protocol import (
    AcquireOutcome,
    Acquisition,
    Ages,
    CursorState,
    DeleteOutcome,
    ResetOutcome,
    StoredStream,
)

READER_THREADS: Final = 3

CHECKPOINT_PAGES: Final = 1_000
"""In the WAL: from there on every commit brings what it can of them to the database."""

_log = logging.getLogger(__name__)

T = TypeVar("T")


class SqliteStore:
    """A `Store` in one file."""

    info: StoreInfo
    acknowledgement_key: bytes

    def __init__(self, database: Path, options: StoreOptions) -> None:
        self._database = database
        self._options = options
        self._lock: FileLock | None = None
        self._writer: Writer | None = None
        self._holders = Holders()
        self._writing = ThreadPoolExecutor(1, "factstr-sqlite-writer")
        self._reading = ThreadPoolExecutor(READER_THREADS, "factstr-sqlite-reader")
        self._quick = QuickReads(database, self._overflows)
        self._own = threading.local()
        self._readers: list[apsw.Connection] = []
        self._gate = Gate()
        self._wal_is_due = False
        """To be applied anew, before anything else is written."""
        self._told = ""
        """The latest problem."""
        self._closed = False

    def watch(self, listener: StoreListener) -> None:
        """Nobody shares it."""

    async def open(self) -> None:
        await self._run(self._writing, self._open)

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            await self._run(self._writing, self._close)
            self._writing.shutdown()

    async def commit(self, group: Sequence[PreparedAppend | Advance]) -> list[Outcome]:
        return await self._run(self._writing, self._commit, group)

    async def head(self) -> int:
        return await self._read(Reader.head)

    async def read_context(self, query: CompiledQuery, window: Window) -> ContextRead:
        with self._gate.passed_at_once() as inside:
            found = self._quick.read_context(query, window) if inside and not self._closed else None
        if found:
            newest, page = found
        else:
            newest, page = await self._read(Reader.read_context, query, window)
        # Below the snapshot's newest candidates nothing changes any more: the search goes on in reads of their own.
        while not newest.finished:
            newest = await self._read(Reader.newest, query, Window(before=newest.looked_up_to))
        return ContextRead(newest.last_sequence_number, page)

    async def read_facts(self, query: CompiledQuery, window: Window) -> Page:
        return await self._read(Reader.read_facts, query, window)

    async def read_batches(self, query: CompiledQuery, window: BatchWindow) -> BatchPage:
        return await self._read(Reader.read_batches, query, window)

    async def sequence_number_at(self, microseconds: int) -> int:
        return await self._read(Reader.sequence_number_at, microseconds)

    async def ages(self, sequence_numbers: list[int]) -> Ages:
        return await self._read(Reader.ages, sequence_numbers)

    async def get(self, durable_stream: str) -> StoredStream | None:
        return await self._read(Reader.durable_stream, self._holders, durable_stream)

    async def cursors(self, durable_streams: Collection[str]) -> dict[str, CursorState]:
        return await self._read(Reader.cursors, durable_streams)

    async def list_from(self, after: str, name_prefix: str, limit: int) -> list[StoredStream]:
        return await self._read(Reader.durable_streams, self._holders, after, name_prefix, limit)

    async def acquire(self, acquisition: Acquisition) -> AcquireOutcome:
        # In doubt an epoch was used up, or the name created. No lease was given, and asking again is safe.
        return await self._change(
            lambda writer, streams: streams.acquire(acquisition, writer.head_now, writer.now()), io_error
        )

    async def release(self, durable_stream: str, lease_epoch: int) -> None:
        # Needs no connection, so that a file that fails keeps no lease.
        await self._run(self._writing, self._holders.release, durable_stream, lease_epoch)

    async def reset(self, durable_stream: str, cursor: int, *, force: bool) -> ResetOutcome:
        return await self._change(
            lambda writer, streams: streams.reset(durable_stream, cursor, writer.head_now, force)
        )

    async def delete(self, durable_stream: str, *, force: bool) -> DeleteOutcome:
        return await self._change(lambda _, streams: streams.delete(durable_stream, force))

    def _overflows(self) -> bool:
        """Whether a fact may hold OVERFLOW. Known by the writer, if there is one."""
        writer = self._writer
        return writer is None or writer.overflows

    async def _change(
        self,
        change: Callable[[Writer, StreamWriter], T],
        in_doubt: Callable[[], Refusal] = change_outcome_unknown,
    ) -> T:
        return await self._run(self._writing, self._change_here, change, in_doubt)

    async def _read(self, read: Callable[..., T], *arguments: object) -> T:
        return await self._run(self._reading, self._read_here, read, *arguments)

    async def _run(self, threads: ThreadPoolExecutor, call: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(threads, call, *arguments)

    # What follows runs in a thread of its own kind.

    def _open(self) -> None:
        check_place(self._database)
        self._lock = FileLock(self._database)
        try:
            self._writer = self._open_writer()
            self._lock.take_database()
        except StoreError:
            self._close_connections()
            raise
        self.info = self._writer.info
        self.acknowledgement_key = self._writer.acknowledgement_key

    def _open_writer(self) -> Writer:
        connection = open_writer(self._database)
        try:
            if not self._readers:
                # As long as one is open, a commit that failed is none to those that are opened after it.
                self._readers.append(open_reader(self._database))
            return Writer(connection, self._options.idempotency_retention)
        except (apsw.CorruptError, TypeError) as error:  # TypeError: a row that is always there is not
            connection.close(force=True)
            raise StoreError(
                f"cannot read {self._database}: {told(error)}; restore it from a backup"
            ) from None
        except apsw.Error as error:
            connection.close(force=True)
            raise StoreError(f"cannot read {self._database}: {told(error)}") from None

    def _open_writer_again(self) -> Writer:
        """Where the file is gone, or another one is there, a new log would begin."""
        if not self._database.is_file():
            raise StoreError(f"{self._database} is gone; stop the server, and bring the file back")
        if self._wal_is_due:
            with self._gate.shut(), told_of(self._database):
                self._close_readers()
                apply_wal(self._database)
        writer = self._open_writer()
        if writer.info != self.info:
            writer.connection.close(force=True)
            raise StoreError(f"{self._database} is another store than before; stop the server")
        self._wal_is_due = False
        return writer

    def _close(self) -> None:
        # A cancelled call may have left its read running: no connection is closed under it.
        self._reading.shutdown()
        self._close_connections()

    def _close_connections(self) -> None:
        with self._gate.shut():
            self._close_readers()
        if self._writer:
            # To close it would do the same with Python's lock held; what fails here stays in the WAL.
            with suppress(apsw.Error):
                self._writer.connection.wal_checkpoint()
            self._writer.connection.close(force=True)
            self._writer = None
        if self._lock:
            self._lock.release()
            self._lock = None

    def _close_readers(self) -> None:
        while self._readers:
            self._readers.pop().close(force=True)
        self._own = threading.local()
        self._quick.close()

    def _commit(self, group: Sequence[PreparedAppend | Advance]) -> list[Outcome]:
        with self._ready_writer(outcome_unknown) as writer:
            return writer.commit(group)

    def _change_here(self, change: Callable[[Writer, StreamWriter], T], in_doubt: Callable[[], Refusal]) -> T:
        with self._ready_writer(in_doubt) as writer:
            return change(writer, StreamWriter(writer.connection, self._holders))

    @contextmanager
    def _ready_writer(self, in_doubt: Callable[[], Refusal]) -> Iterator[Writer]:
        """The writer, for one transaction, and what it means when nobody can tell whether that was committed."""
        if self._writer is None:
            try:
                self._writer = self._open_writer_again()
            except StoreError as error:
                self._tell(f"nothing can be written: {error}")
                raise store_unavailable("the database file cannot be opened again") from error
            self._told = ""
        try:
            with translated_errors(in_doubt):
                yield self._writer
        except (Refusal, apsw.Error) as failure:
            cause = failure.__cause__ if isinstance(failure, Refusal) else failure
            if isinstance(cause, apsw.Error):
                # What this connection remembers may no longer be what the file holds: the next one reads it anew.
                self._drop_writer()
            raise
        self._checkpoint(self._writer)

    def _checkpoint(self, writer: Writer) -> None:
        """Of the commits so far nothing can fail any more."""
        if writer.wal_pages < CHECKPOINT_PAGES:
            return
        try:
            there, brought = writer.connection.wal_checkpoint()
            writer.wal_pages = there - brought
        except apsw.IOError as failed:
            self._tell(f"{self._database} cannot be written or synced: {told(failed)}")
            self._wal_is_due = True
            self._drop_writer()
            # Those who open it from now on read in the WAL what the database may have lost.
            with self._gate.shut():
                self._close_readers()
        except apsw.Error as failed:
            # A full disk, most likely: after the next commit it is tried again.
            self._tell(f"the WAL of {self._database} grows: {told(failed)}")

    def _tell(self, problem: str) -> None:
        """Whoever runs the server. Every append may meet it."""
        if problem != self._told:
            self._told = problem
            _log.warning("%s", problem)

    def _drop_writer(self) -> None:
        """The next commit opens another one."""
        assert self._writer
        # The last connection that is closed would try it once more, and remove the WAL.
        self._writer.connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        self._writer.connection.close(force=True)
        self._writer = None

    def _read_here(self, read: Callable[..., T], *arguments: object) -> T:
        with self._gate.passed(), translated_errors(io_error):
            if not hasattr(self._own, "reader"):
                connection = open_reader(self._database)
                self._readers.append(connection)
                self._own.reader = Reader(connection)
            return read(self._own.reader, *arguments)
