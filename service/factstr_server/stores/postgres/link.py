"""Connections to one database server, opened and given up together."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from psycopg import AsyncConnection, AsyncCursor
from psycopg.pq import Format
from psycopg_pool import AsyncConnectionPool

from factstr_server.stores.postgres.binary import register_arrays
from factstr_server.stores.postgres.location import Location

READING_CONNECTIONS: Final = 6
"""At most, beside the one that commits and the one that watches."""

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

    async def close(self) -> None:
        await self.pool.close(timeout=1)
        for connection in (self.writing, self.watching):
            await connection.close()


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
