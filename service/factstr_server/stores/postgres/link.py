"""Connections to one database server, opened and given up together."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import psycopg
from psycopg import AsyncConnection, AsyncCursor
from psycopg.pq import Format
from psycopg_pool import AsyncConnectionPool

from factstr_server.stores.postgres.binary import register_arrays
from factstr_server.stores.postgres.location import Location

READING_CONNECTIONS: Final = 6
"""At most, beside the one that commits and the one that watches."""

_NOTICED_SECONDS: Final = 0.2
"""After which a connection that was cut is noticed at the latest."""

Check: TypeAlias = Callable[[AsyncConnection], Awaitable[object]]
"""What a connection passes before it is used."""


class BinaryCursor(AsyncCursor[Any]):
    """Results in the binary format, which no setting of the database changes: times are text in many styles."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.format = Format.BINARY


@dataclass(frozen=True, slots=True)
class Link:
    """One connection that commits, one that watches, and a few for everything else."""

    writing: AsyncConnection
    watching: AsyncConnection
    pool: AsyncConnectionPool
    borrowed: set[AsyncConnection] = field(default_factory=set, compare=False)

    @asynccontextmanager
    async def borrow(self, seconds: float) -> AsyncIterator[AsyncConnection]:
        """A connection of the pool, as soon as one is free; it ends with the link, whoever uses it."""
        async with self.pool.connection(timeout=seconds) as connection:
            self.borrowed.add(connection)
            try:
                yield connection
            finally:
                self.borrowed.discard(connection)

    async def close(self) -> None:
        for connection in (self.writing, self.watching, *self.borrowed):
            cut(connection)
        await self.pool.close(timeout=1)
        for connection in (self.writing, self.watching):
            # Whoever waits for an answer finds it broken, and lets go.
            async with connection.lock:
                await connection.close()


def cut(connection: AsyncConnection) -> None:
    """Whoever waits for an answer finds the connection broken. To close it would not tell them, and the next connection
    could get the number of the socket that they wait at; to cancel them would ask the server first, which may hang.
    """
    with suppress(psycopg.Error, OSError), socket.socket(fileno=os.dup(connection.fileno())) as its_socket:
        its_socket.shutdown(socket.SHUT_RDWR)


@asynccontextmanager
async def answered_within(connection: AsyncConnection, seconds: float) -> AsyncIterator[None]:
    """Cuts the connection when it takes longer. Raises what comes of that, or TimeoutError."""
    loop = asyncio.get_running_loop()
    cutting = loop.call_later(seconds, cut, connection)
    try:
        # It may also be something else that is waited for.
        async with asyncio.timeout(seconds + _NOTICED_SECONDS):
            yield
    finally:
        cutting.cancel()


async def connect(location: Location) -> AsyncConnection:
    connection = await AsyncConnection.connect(location.conninfo, **_settings(location))
    register_arrays(connection)
    return connection


async def open_link(location: Location, check: Check) -> Link:
    """Raises psycopg.Error."""
    async with AsyncExitStack() as opened:
        watching = await connect(location)
        opened.push_async_callback(watching.close)
        await check(watching)
        writing = await connect(location)
        opened.push_async_callback(writing.close)
        await check(writing)
        link = Link(writing, watching, await open_pool(location, check))
        opened.pop_all()
    return link


async def open_pool(location: Location, check: Check) -> AsyncConnectionPool:
    """Connections for reads and for changes of durable streams."""

    async def configure(connection: AsyncConnection) -> None:
        register_arrays(connection)
        await check(connection)

    pool = AsyncConnectionPool(
        location.conninfo,
        kwargs=_settings(location),
        min_size=1,
        max_size=READING_CONNECTIONS,
        configure=configure,
        open=False,
        name="factstr",
    )
    await pool.open()
    return pool


def _settings(location: Location) -> dict[str, Any]:
    """Of every connection, beside those in its conninfo."""
    return {
        "autocommit": True,
        "prepare_threshold": 2 if location.listen else None,
        "cursor_factory": BinaryCursor,
    }
