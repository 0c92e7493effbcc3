"""Reads from a standby: pages of queries and replays, so that they do not burden the primary.

A read says up to which position it needs the log; that is at most a version or a head that the primary has told. The
standby serves it once it holds that fact as the primary does, and so everything before it. Where it does not get there
in time, cannot be reached, or has gone its own way, the primary serves the read: a standby can make reads cheaper,
never different.

Behind one URL there may be several standbys, each as far as it is. So what was seen of one connection says nothing of
another, and with a transaction pooler between, nothing of the next transaction.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeVar
from weakref import WeakKeyDictionary

import psycopg
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from factstr_server.stores.postgres.link import answered_within, open_pool
from factstr_server.stores.postgres.location import Location
from factstr_server.stores.postgres.reading import NO_FACT, Digest
from factstr_server.stores.postgres.translation import first_line

REACH_SECONDS: Final = 1.0
"""How long a read waits for the standby to replay what it needs."""

_LOOK_AGAIN_SECONDS: Final = 0.01

_LONGEST_READ_SECONDS: Final = 10.0
"""After which the standby is taken to hang."""

_LEFT_ALONE_SECONDS: Final = 5.0
"""For how long a standby that failed a read is not asked again."""

_log = logging.getLogger(__name__)

T = TypeVar("T")


class Unfit(Exception):
    """The standby cannot serve this read, and the primary should."""


class Replica:
    """One standby. Reads may run concurrently."""

    def __init__(
        self,
        location: Location,
        digest: Callable[[AsyncConnection, int], Awaitable[Digest]],
        on_primary: Callable[[int], Awaitable[Digest]],
    ) -> None:
        """`digest` tells what stands under a sequence number there, `on_primary` on the primary."""
        self._location = location
        self._digest = digest
        self._on_primary = on_primary
        self._pool: AsyncConnectionPool | None = None
        self._same_up_to: WeakKeyDictionary[AsyncConnection, int] = WeakKeyDictionary()
        """How far the log behind a connection is known to be the primary's."""
        self._left_alone_until = 0.0

    async def open(self) -> None:
        """Does not wait for the standby to answer."""
        self._pool = await open_pool(self._location, _nothing)

    async def close(self) -> None:
        if self._pool:
            await self._pool.close(timeout=1)

    async def read(self, up_to: int, read: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Raises Unfit."""
        loop = asyncio.get_running_loop()
        if self._pool is None or loop.time() < self._left_alone_until:
            raise Unfit
        try:
            async with (
                self._pool.connection(timeout=REACH_SECONDS) as connection,
                answered_within(connection, _LONGEST_READ_SECONDS),
                self._one_server(connection),
            ):
                if up_to > self._same_up_to.get(connection, 0):
                    await self._reach(connection, up_to)
                return await read(connection)
        except (psycopg.Error, PoolTimeout, OSError, Unfit) as error:
            self._left_alone_until = loop.time() + _LEFT_ALONE_SECONDS
            _log.warning("the read store is left alone for a while: %s", first_line(error))
            raise Unfit from error

    @asynccontextmanager
    async def _one_server(self, connection: AsyncConnection) -> AsyncIterator[None]:
        """Within it, all statements go to the same server."""
        if self._location.listen:
            yield
            return
        await connection.execute("BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY")
        try:
            yield
        finally:
            self._same_up_to.pop(connection, None)
            await connection.execute("ROLLBACK")

    async def _reach(self, connection: AsyncConnection, up_to: int) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + REACH_SECONDS
        while (found := await self._digest(connection, up_to)) == NO_FACT:
            if loop.time() >= until:
                raise Unfit(f"it has not replayed fact {up_to} yet")
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)
        if found != await self._on_primary(up_to):
            raise Unfit("it does not hold what the store holds")
        self._same_up_to[connection] = up_to


async def _nothing(_: AsyncConnection) -> None:
    """Connections are looked at when they are read from."""
