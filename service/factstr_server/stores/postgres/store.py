"""The PostgreSQL store as a `Store`: which connection does what.

The committer has a connection of its own; reads and changes of durable streams share a few. Those run to their end in
tasks of their own: a call that is cancelled leaves them, so that no connection is taken from the pool in vain.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, Final, TypeVar
from uuid import uuid4

import psycopg
from psycopg import AsyncConnection

from factstr_server.contract.append import PreparedAppend
from factstr_server.contract.errors import Refusal, StoreDisconnected, change_outcome_unknown
from factstr_server.contract.limits import MAX_SEQUENCE_NUMBER
from factstr_server.contract.query import CompiledQuery
from factstr_server.stores.postgres.continuity import Continuity
from factstr_server.stores.postgres.link import Link, connect
from factstr_server.stores.postgres.location import location_of
from factstr_server.stores.postgres.migrations import migrate
from factstr_server.stores.postgres.reading import Digest, Reader, Searched
from factstr_server.stores.postgres.replica import Replica, Unfit
from factstr_server.stores.postgres.statements import Statements
from factstr_server.stores.postgres.streams import StreamTable
from factstr_server.stores.postgres.transactions import begin
from factstr_server.stores.postgres.translation import (
    LOST,
    connection_lost,
    told_to_people,
    translated_errors,
)
from factstr_server.stores.postgres.watching import Watch
from factstr_server.stores.postgres.writing import Writer
from factstr_server.stores.protocol import (
    Advance,
    BatchPage,
    BatchWindow,
    ContextRead,
    Outcome,
    Page,
    StoreInfo,
    StoreListener,
    StoreOptions,
    Window,
)
from factstr_server.stores.stream_protocol import (
    Acquired,
    AcquireOutcome,
    Acquisition,
    Ages,
    CursorState,
    DeleteOutcome,
    ResetOutcome,
    StoredStream,
)

_TRY_AGAIN_SECONDS: Final = 0.1

_LONGEST_READ_SECONDS: Final = 30.0
"""After which a read is given up, a change before its COMMIT, and the wait for a free connection: the server hangs."""

T = TypeVar("T")


class PostgresStore:
    """A `Store` in one schema of a database, which other servers may share."""

    def __init__(self, url: str, options: StoreOptions) -> None:
        """Raises StoreError."""
        self._location = location_of(url)
        self._wait_seconds = options.unavailable_wait.total_seconds()
        server_id = uuid4()
        statements = Statements(self._location.schema)
        self._continuity = Continuity(statements, server_id)
        self._watch = Watch(self._location, statements, self._continuity, server_id)
        self._reader = Reader(statements)
        self._streams = StreamTable(statements, self._reader, server_id)
        self._writer = Writer(statements, self._continuity, self._watch, options)
        self._replica: Replica | None = None
        if options.read_store is not None:
            # The schema is the store's, whatever the replica's URL says.
            there = replace(location_of(options.read_store, read_only=True), schema=self._location.schema)
            self._replica = Replica(there, self._reader.digest, self._digest)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = False

    @property
    def info(self) -> StoreInfo:
        return self._continuity.info

    @property
    def acknowledgement_key(self) -> bytes:
        return self._continuity.acknowledgement_key

    def watch(self, listener: StoreListener) -> None:
        self._watch.listener = self._continuity.listener = listener

    async def open(self) -> None:
        with told_to_people("the PostgreSQL store"):
            connection = await connect(self._location)
            try:
                await migrate(connection, self._location)
                await self._continuity.begin(connection)
            finally:
                await connection.close()
            link = await self._watch.new_link()
        self._watch.start(link)
        if self._replica:
            await self._replica.open()

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._wait_seconds)
        try:
            link = self._watch.link()
            async with asyncio.timeout(self._wait_seconds), link.borrow(self._wait_seconds) as connection:
                await self._streams.release_all(connection)
            self._watch.announce()
        except (Refusal, psycopg.Error, OSError, TimeoutError):
            pass  # Its leases end by themselves.
        if self._replica:
            await self._replica.close()
        await self._watch.close()

    async def commit(self, group: Sequence[PreparedAppend | Advance]) -> list[Outcome]:
        return await self._writer.commit(group)

    async def head(self) -> int:
        return await self._read(self._continuity.head)

    async def read_context(self, query: CompiledQuery, window: Window) -> ContextRead:
        searched = Searched(None, MAX_SEQUENCE_NUMBER, 1)
        while searched.before is not None:
            # A search may be long: others get their turn of the connection between its steps.
            searched = await self._read(partial(self._reader.search, query=query, after=0, searched=searched))
        version = searched.newest
        if version is None:
            return ContextRead(None, Page([], None, window.after, finished=True))
        bounded = window._replace(before=min(window.before, version + 1))
        if bounded.max_facts == 0:
            return ContextRead(version, Page([], None, window.after, finished=True))
        return ContextRead(version, await self.read_facts(query, bounded))

    async def read_facts(self, query: CompiledQuery, window: Window) -> Page:
        return await self._read_up_to(
            window.before - 1, lambda connection: self._reader.read_facts(connection, query, window)
        )

    async def read_batches(self, query: CompiledQuery, window: BatchWindow) -> BatchPage:
        return await self._read_up_to(
            window.up_to, lambda connection: self._reader.read_batches(connection, query, window)
        )

    async def sequence_number_at(self, microseconds: int) -> int:
        return await self._read(lambda connection: self._reader.sequence_number_at(connection, microseconds))

    async def ages(self, sequence_numbers: list[int]) -> Ages:
        return await self._read(lambda connection: self._reader.ages(connection, sequence_numbers))

    async def get(self, durable_stream: str) -> StoredStream | None:
        return await self._read(lambda connection: self._streams.get(connection, durable_stream))

    async def list_from(self, after: str, name_prefix: str, limit: int) -> list[StoredStream]:
        return await self._read(
            lambda connection: self._streams.list_from(connection, after, name_prefix, limit)
        )

    async def cursors(self, durable_streams: Collection[str]) -> Mapping[str, CursorState]:
        return await self._read(lambda connection: self._streams.cursors(connection, durable_streams))

    async def acquire(self, acquisition: Acquisition) -> AcquireOutcome:
        outcome: AcquireOutcome | None = None

        async def change(connection: AsyncConnection) -> AcquireOutcome:
            nonlocal outcome
            outcome = await self._streams.acquire(connection, acquisition)
            return outcome

        try:
            # Whoever waits for a lease asks for it whenever it may be free: to announce that would never end.
            return await self._change(change, lambda: StoreDisconnected(LOST), announced=False)
        except Refusal:
            if isinstance(outcome, Acquired):
                # The lease may be in the store, and nobody has it.
                self._spawn(self._release_when_possible(acquisition.durable_stream, outcome.lease_epoch))
            raise

    async def release(self, durable_stream: str, lease_epoch: int) -> None:
        async def change(connection: AsyncConnection) -> None:
            await self._streams.release(connection, durable_stream, lease_epoch)

        await self._change(change, change_outcome_unknown)

    async def reset(self, durable_stream: str, cursor: int, *, force: bool) -> ResetOutcome:
        return await self._change(
            lambda connection: self._streams.reset(connection, durable_stream, cursor, force),
            change_outcome_unknown,
        )

    async def delete(self, durable_stream: str, *, force: bool) -> DeleteOutcome:
        return await self._change(
            lambda connection: self._streams.delete(connection, durable_stream, force), change_outcome_unknown
        )

    async def _read(self, read: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Outlasts a connection that is lost, for as long as the setting says."""

        async def in_time(connection: AsyncConnection) -> T:
            # From when there is a connection: what is cancelled while it is being sent may be carried out
            # nevertheless, and is then waited for.
            async with asyncio.timeout(_LONGEST_READ_SECONDS):
                return await read(connection)

        async def reading(until: float) -> T:
            loop = asyncio.get_running_loop()
            while True:
                link = await self._watch.link_within(until - loop.time())
                try:
                    with translated_errors():
                        return await self._on(link, in_time)
                except StoreDisconnected:
                    self._watch.doubt()
                    if loop.time() + _TRY_AGAIN_SECONDS >= until:
                        raise
                    await asyncio.sleep(_TRY_AGAIN_SECONDS)

        return await self._to_the_end(reading(asyncio.get_running_loop().time() + self._wait_seconds))

    async def _read_up_to(self, position: int, read: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """A read that needs nothing above a position: by the replica, if there is one and it is fit."""
        if self._replica:
            with suppress(Unfit):
                return await self._to_the_end(self._replica.read(position, read))
        return await self._read(read)

    async def _digest(self, sequence_number: int) -> Digest:
        return await self._read(lambda connection: self._reader.digest(connection, sequence_number))

    async def _change(
        self,
        change: Callable[[AsyncConnection], Awaitable[T]],
        in_doubt: Callable[[], Refusal],
        *,
        announced: bool = True,
    ) -> T:
        """One durable transaction. Where its COMMIT may be lost, `in_doubt` says what that means. It is announced where
        somebody at another server may wait for it.
        """

        async def changing() -> T:
            committing = False

            async def transaction(connection: AsyncConnection) -> T:
                nonlocal committing
                async with asyncio.timeout(_LONGEST_READ_SECONDS):
                    await begin(connection, self._wait_seconds)
                    result = await change(connection)
                committing = True
                await connection.execute("COMMIT")
                return result

            loop = asyncio.get_running_loop()
            until = loop.time() + self._wait_seconds
            while True:
                link = await self._watch.link_within(until - loop.time())
                try:
                    with translated_errors(lambda: in_doubt() if committing else StoreDisconnected(LOST)):
                        result = await self._on(link, transaction)
                    break
                except StoreDisconnected:
                    self._watch.doubt()
                    if committing or loop.time() + _TRY_AGAIN_SECONDS >= until:
                        raise
                    await asyncio.sleep(_TRY_AGAIN_SECONDS)
            if announced:
                self._watch.announce()
            return result

        return await self._to_the_end(changing())

    async def _on(self, link: Link, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        # Many who ask at once are no outage, which the setting is about: they wait for a free connection longer.
        async with link.borrow(_LONGEST_READ_SECONDS) as connection:
            try:
                return await work(connection)
            except BaseException as error:
                if connection_lost(connection, error):
                    await connection.close()
                elif connection.info.transaction_status:
                    await connection.execute("ROLLBACK")
                raise

    async def _release_when_possible(self, durable_stream: str, lease_epoch: int) -> None:
        while not self._closed:
            try:
                await self.release(durable_stream, lease_epoch)
                return
            except Refusal:
                await asyncio.sleep(1)

    async def _to_the_end(self, work: Coroutine[Any, Any, T]) -> T:
        """A call that is cancelled leaves the work alone."""
        return await asyncio.shield(self._spawn(work))

    def _spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # Perhaps nobody asks any more.
